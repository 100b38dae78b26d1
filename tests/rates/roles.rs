//! The two roles of the README: one loads, the other one serves.

use crate::cluster::shared;
use crate::databases::{Database, Question, Reference, expect};
use crate::dump::sample;
use crate::harness::new_folder;

#[test]
fn the_owner_loads_and_the_role_that_serves_reads() {
    let readme = include_str!("../../systemd/README.md");
    let roles = readme.split("```sql").nth(1).unwrap().split("```").next().unwrap();
    shared().execute(roles);
    let [owner, serving] = ["hello_owner:one", "hello:another"].map(|credentials| Database {
        url: format!("postgres://{credentials}@127.0.0.1:{}/hello", shared().port()),
        folder: new_folder(),
    });
    owner.load_rows(&sample());
    let service = serving.start(&["--migrate=check"]);
    let refused = serving.load(sample().to_dump().as_bytes());
    assert_eq!(refused.status, Some(1));
    let advice =
        "this role may not replace the rates: run load-rates as the role that owns the tables";
    assert!(refused.error.contains(advice), "{}", refused.error);
    let question =
        Question { from: "2016-01-01", to: "2016-01-31", origin: "asia", destination: "europe" };
    let days = Reference::in_sqlite(&sample()).days(&question);
    expect(question.ask(&service), &days, &question);
    service.save("John", "1990-05-20");
}
