//! Saves and greets a user with the generated client. Its argument is the URL of the service.

use openapi::apis::Error;
use openapi::apis::birthdays_api::{GreetUserError, greet_user, save_birthday};
use openapi::apis::configuration::Configuration;
use openapi::apis::service_api::check_health;
use openapi::models::Birthday;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url = std::env::args().nth(1).expect("the URL of a service");
    let configuration = Configuration { base_path: url, ..Configuration::default() };
    let born = Birthday::new("1990-05-20".parse().expect("a date"));
    save_birthday(&configuration, "José", born).await.expect("it is saved");
    let greeting = greet_user(&configuration, "José").await.expect("a greeting");
    assert_eq!(greeting.message, "Hello, José! Happy birthday!");
    match greet_user(&configuration, "J1").await {
        Err(Error::ResponseError(response)) => {
            assert_eq!(response.status.as_u16(), 400);
            assert!(matches!(response.entity, Some(GreetUserError::Status400(_))));
        }
        answer => panic!("{answer:?}"),
    }
    assert_eq!(check_health(&configuration).await.expect("an answer"), "OK");
    println!("saved and greeted");
}
