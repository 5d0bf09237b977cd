//! Names that a user types, checked before anything is asked of a server.

use crate::error::{Error, Result};

/// Checks the name of a control plane.
pub fn check_control_plane(name: &str) -> Result<()> {
    if kplane_crds::RESERVED_NAMES.contains(&name) {
        return Err(Error::new(format!("{name:?} is reserved and cannot name a control plane"))
            .hint(format!("reserved are {}", kplane_crds::RESERVED_NAMES.join(", "))));
    }
    if !kplane_crds::is_cluster_path(name) {
        let error = Error::new(format!("{name:?} cannot name a control plane")).hint(
            "a name has at most 63 characters: lower-case letters, digits and '-', with a letter or digit at either end",
        );
        return Err(match suggestion(name) {
            Some(better) => error.hint(format!("say, {better}")),
            None => error,
        });
    }
    Ok(())
}

/// A name that would do.
fn suggestion(name: &str) -> Option<String> {
    let better: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(63)
        .collect();
    let better = better.trim_matches('-').to_owned();
    kplane_crds::is_cluster_path(&better).then_some(better)
}

/// The known name that is nearest to one that is not known, if one is near.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = 1 + name.chars().count() / 4;
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be changed, added or left out.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_better_ones_proposed() {
        assert!(check_control_plane("demo-1").is_ok());
        assert!(check_control_plane("root").unwrap_err().message().contains("reserved"));
        let error = check_control_plane("My_App").unwrap_err();
        assert!(format!("{error:?}").contains("my-app"), "{error:?}");
        assert!(check_control_plane("").is_err());
    }

    #[test]
    fn near_names_are_found() {
        assert_eq!(nearest("dmo", ["demo", "other"]), Some("demo"));
        assert_eq!(nearest("demo", ["unlike"]), None);
    }
}
