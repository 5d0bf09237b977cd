//! `--token-auth-file`: tokens of root's users, one a line: `token,user,uid[,"group1,group2"]`.

use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::pki::PkiError;
use crate::user::UserInfo;

/// The tokens of a file. Only their hashes are kept.
#[derive(Default)]
pub struct StaticTokens {
    tokens: Vec<([u8; 32], UserInfo)>,
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticTokens").field("count", &self.tokens.len()).finish()
    }
}

impl StaticTokens {
    /// Reads a file; the error names it and the line.
    pub fn load(path: &Path) -> Result<Self, PkiError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PkiError::File { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|why| PkiError::broken(path, why))
    }

    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line_number = number + 1;
            let fields = fields(line).ok_or_else(|| format!("line {line_number}: a quote is not closed"))?;
            let [token, name, uid, rest @ ..] = fields.as_slice() else {
                return Err(format!("line {line_number}: expected token, user name and user uid"));
            };
            if token.is_empty() || name.is_empty() {
                return Err(format!("line {line_number}: token and user name must not be empty"));
            }
            let groups = rest.first().map(String::as_str).unwrap_or("").split(',').map(str::trim);
            let mut user = UserInfo::new(name.as_str(), groups.filter(|group| !group.is_empty()));
            user.uid.clone_from(uid);
            tokens.add(token, user);
        }
        Ok(tokens)
    }

    /// Adds one.
    pub fn add(&mut self, token: &str, user: UserInfo) {
        self.tokens.push((Sha256::digest(token).into(), user));
    }

    /// The user of a token. It takes as long for any token: all are compared, and by their hashes.
    pub fn find(&self, token: &str) -> Option<&UserInfo> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for (known, user) in &self.tokens {
            if bool::from(known.ct_eq(&hash)) {
                found = Some(user);
            }
        }
        found
    }
}

/// The fields of a line of CSV.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut()?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    (!quoted).then(|| fields.iter().map(|field| field.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_users() {
        let tokens = StaticTokens::parse("# who\nt1,alice,1,\"dev, system:masters\"\n\nt2,bob,2\n").unwrap();
        assert_eq!(tokens.find("t1").unwrap().groups, ["dev", "system:masters"]);
        assert_eq!(tokens.find("t2").unwrap().uid, "2");
        assert!(tokens.find("t3").is_none());
        assert!(!format!("{tokens:?}").contains("alice"));
    }

    #[test]
    fn a_bad_line_is_told() {
        assert!(StaticTokens::parse("t1,alice,1\nt2,bob").unwrap_err().starts_with("line 2"));
        assert!(StaticTokens::parse("t1,alice,\"1").is_err());
        assert!(StaticTokens::parse(",alice,1").is_err());
    }
}
