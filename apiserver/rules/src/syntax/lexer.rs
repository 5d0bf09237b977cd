//! From text to tokens.

use std::sync::Arc;

use super::ast::Literal;
use super::source::Issue;

/// A token and where it starts, in characters.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub at: u32,
    /// As it is written.
    pub text: Arc<str>,
    pub kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    Ident,
    /// A name in backticks.
    Quoted,
    /// Without a sign.
    Int,
    Uint,
    Float,
    Text(Literal),
    /// `true`, `false`, `null`, `in`.
    Word,
    Symbol,
    End,
}

impl Token {
    pub(crate) fn is(&self, symbol: &str) -> bool {
        matches!(self.kind, TokenKind::Symbol | TokenKind::Word) && &*self.text == symbol
    }

    /// As errors name it.
    pub(crate) fn shown(&self) -> String {
        match self.kind {
            TokenKind::End => "'<EOF>'".to_owned(),
            _ => format!("'{}'", self.text.replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r")),
        }
    }
}

const SYMBOLS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":",
    "+", "*", "/", "%", "=",
];

pub(crate) fn tokens(source: &str, issues: &mut Vec<Issue>) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { chars, at: 0 };
    let mut out = Vec::new();
    while let Some(result) = lexer.next() {
        match result {
            Ok(token) => out.push(token),
            Err(issue) => issues.push(issue),
        }
    }
    out.push(Token { at: lexer.chars.len() as u32, text: "<EOF>".into(), kind: TokenKind::End });
    out
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn text(&self, from: usize) -> String {
        self.chars[from..self.at].iter().collect()
    }

    fn token(&self, from: usize, kind: TokenKind) -> Token {
        Token { at: from as u32, text: self.text(from).into(), kind }
    }

    fn while_some(&mut self, wanted: impl Fn(char) -> bool) -> usize {
        let from = self.at;
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
        self.at - from
    }

    fn next(&mut self) -> Option<Result<Token, Issue>> {
        loop {
            let c = self.peek(0)?;
            if matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}') {
                self.at += 1;
            } else if c == '/' && self.peek(1) == Some('/') {
                self.while_some(|c| c != '\n');
            } else {
                break;
            }
        }
        let from = self.at;
        let c = self.peek(0)?;
        if let Some(prefix) = self.text_prefix() {
            return Some(self.literal_text(from, prefix));
        }
        if c.is_ascii_alphabetic() || c == '_' {
            self.while_some(|c| c.is_ascii_alphanumeric() || c == '_');
            let word = matches!(&*self.text(from), "true" | "false" | "null" | "in");
            return Some(Ok(self.token(from, if word { TokenKind::Word } else { TokenKind::Ident })));
        }
        if c.is_ascii_digit() || (c == '.' && self.peek(1).is_some_and(|c| c.is_ascii_digit())) {
            return Some(Ok(self.number(from)));
        }
        if c == '`' {
            self.at += 1;
            let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' ');
            if self.while_some(part) > 0 && self.peek(0) == Some('`') {
                self.at += 1;
                return Some(Ok(self.token(from, TokenKind::Quoted)));
            }
            return Some(Err(self.unknown(from)));
        }
        for symbol in SYMBOLS {
            if symbol.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c)) && symbol != "=" {
                self.at += symbol.len();
                return Some(Ok(self.token(from, TokenKind::Symbol)));
            }
        }
        self.at += 1;
        Some(Err(self.unknown(from)))
    }

    fn unknown(&self, from: usize) -> Issue {
        Issue::at(from as u32, format!("Syntax error: token recognition error at: '{}'", self.text(from)))
    }

    fn number(&mut self, from: usize) -> Token {
        let hex = self.peek(0) == Some('0')
            && matches!(self.peek(1), Some('x' | 'X'))
            && self.peek(2).is_some_and(|c| c.is_ascii_hexdigit());
        let mut kind = TokenKind::Int;
        if hex {
            self.at += 2;
            self.while_some(|c| c.is_ascii_hexdigit());
        } else {
            self.while_some(|c| c.is_ascii_digit());
            if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
                self.at += 1;
                self.while_some(|c| c.is_ascii_digit());
                kind = TokenKind::Float;
            }
            if matches!(self.peek(0), Some('e' | 'E')) {
                let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
                if self.peek(1 + sign).is_some_and(|c| c.is_ascii_digit()) {
                    self.at += 1 + sign;
                    self.while_some(|c| c.is_ascii_digit());
                    kind = TokenKind::Float;
                }
            }
        }
        if kind == TokenKind::Int && matches!(self.peek(0), Some('u' | 'U')) {
            self.at += 1;
            kind = TokenKind::Uint;
        }
        self.token(from, kind)
    }

    /// The length of the prefix of a text that starts here, and what it says: raw, bytes.
    fn text_prefix(&self) -> Option<(usize, bool, bool)> {
        let (mut length, mut raw, mut bytes) = (0, false, false);
        while let Some(c) = self.peek(length) {
            match c {
                '\'' | '"' => return Some((length, raw, bytes)),
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes && !raw => bytes = true,
                _ => return None,
            }
            length += 1;
        }
        None
    }

    fn literal_text(
        &mut self,
        from: usize,
        (prefix, raw, bytes): (usize, bool, bool),
    ) -> Result<Token, Issue> {
        self.at += prefix;
        let quote = self.peek(0).unwrap_or('"');
        let triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        let width = if triple { 3 } else { 1 };
        self.at += width;
        let mut out = Vec::new();
        loop {
            let Some(c) = self.peek(0) else { return Err(self.unknown(from)) };
            if c == quote && (!triple || (self.peek(1) == Some(quote) && self.peek(2) == Some(quote))) {
                self.at += width;
                break;
            }
            if !triple && matches!(c, '\n' | '\r') {
                return Err(self.unknown(from));
            }
            self.at += 1;
            if c == '\\' && !raw {
                if !self.escape(bytes, &mut out) {
                    return Err(self.unknown(from));
                }
            } else {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        let literal = if bytes {
            Literal::Bytes(out.into())
        } else {
            match String::from_utf8(out) {
                Ok(text) => Literal::String(text.into()),
                Err(_) => return Err(self.unknown(from)),
            }
        };
        Ok(self.token(from, TokenKind::Text(literal)))
    }

    /// What follows a backslash; false when nothing can.
    fn escape(&mut self, bytes: bool, out: &mut Vec<u8>) -> bool {
        let Some(c) = self.peek(0) else { return false };
        self.at += 1;
        let plain = match c {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' | '\'' | '"' | '`' | '?' => Some(c as u8),
            _ => None,
        };
        if let Some(plain) = plain {
            out.push(plain);
            return true;
        }
        let (digits, radix) = match c {
            'x' | 'X' => (2, 16),
            'u' if !bytes => (4, 16),
            'U' if !bytes => (8, 16),
            '0'..='3' => {
                self.at -= 1;
                (3, 8)
            }
            _ => return false,
        };
        let mut value = 0_u32;
        for _ in 0..digits {
            let Some(digit) = self.peek(0).and_then(|c| c.to_digit(radix)) else { return false };
            value = value.wrapping_mul(radix).wrapping_add(digit);
            self.at += 1;
        }
        if bytes {
            out.push(value as u8);
            return true;
        }
        match char::from_u32(value) {
            Some(c) => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                true
            }
            None => false,
        }
    }
}
