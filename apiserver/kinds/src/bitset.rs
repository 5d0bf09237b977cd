//! Small sets of named things.

macro_rules! bitset {
    ($(#[$doc:meta])* $name:ident: $($konst:ident $text:literal),* $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name(u16);

        bitset!(@consts $name, 0, $($konst $text,)*);

        impl $name {
            const TEXTS: &'static [&'static str] = &[$($text),*];

            /// Both sets together.
            pub const fn and(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The one named by its text, such as `get`.
            pub fn parse(text: &str) -> Option<Self> {
                Self::TEXTS.iter().position(|t| *t == text).map(|i| Self(1 << i))
            }

            /// Whether all of the other are in this.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The texts, in order.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::TEXTS.iter().enumerate().filter(move |(i, _)| self.0 & (1 << i) != 0).map(|(_, t)| *t)
            }
        }
    };
    (@consts $name:ident, $n:expr, ) => {};
    (@consts $name:ident, $n:expr, $konst:ident $text:literal, $($rest:tt)*) => {
        impl $name {
            #[doc = concat!("`", $text, "`.")]
            pub const $konst: $name = $name(1 << ($n));
        }
        bitset!(@consts $name, $n + 1, $($rest)*);
    };
}
