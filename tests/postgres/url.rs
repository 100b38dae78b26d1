//! The parts of a test database's URL.

/// The role, which has the name of its database.
pub fn role(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap();
    rest.split_once(':').unwrap().0
}

/// The role's password.
pub fn password(url: &str) -> &str {
    let (credentials, _) = url.split_once('@').unwrap();
    credentials.rsplit_once(':').unwrap().1
}
