//! What services and their databases are waited for to say.

use crate::cluster;
use crate::harness::{Service, wait_until};

pub fn wait_until_unhealthy(service: &Service) {
    wait_until("health reports the outage", || {
        (service.get("/health").status == 503).then_some(())
    });
}

/// Waits until the service saves and finds again, and says so.
pub fn wait_until_works(service: &Service) {
    for (method, path, body, success) in [
        ("PUT", "/hello/John", r#"{"dateOfBirth":"1990-05-20"}"#, 204),
        ("GET", "/hello/John", "", 200),
        ("GET", "/health", "", 200),
    ] {
        wait_until("it works again", || {
            (service.request(method, path, body).status == success).then_some(())
        });
    }
}

/// Waits until a save is refused and health reports the outage.
pub fn wait_until_refused(service: &Service) {
    let refused = r#"hello_birthday_http_requests_total{method="PUT",route="/hello/{username}",status="503"}"#;
    wait_until("a save is refused", || (service.metric(refused) > 0.0).then_some(()));
    wait_until_unhealthy(service);
    service.ask_admin("/readyz").expect_status(200);
}

/// All users in a database with their dates of birth.
pub fn read_all<Users: FromIterator<(String, String)>>(url: &str) -> Users {
    let rows = cluster::execute(url, "select username, date_of_birth from users");
    let user =
        |row: &str| row.split_once('|').map(|(name, born)| (name.to_owned(), born.to_owned()));
    rows.lines().map(|row| user(row).unwrap()).collect()
}
