"""Saves and greets a user with the generated client: greet.py CLIENTS URL"""

import sys
from datetime import date
from http import HTTPStatus
from importlib import import_module


def main() -> None:
    folder, url = sys.argv[1:]
    sys.path.insert(0, folder)
    package = "hello_birthday_client"
    birthdays = f"{package}.api.birthdays"
    save = import_module(f"{birthdays}.save_birthday")
    greet = import_module(f"{birthdays}.greet_user")
    health = import_module(f"{package}.api.service.check_health")
    models = import_module(f"{package}.models")
    client = import_module(package).Client(base_url=url)

    born = models.Birthday(date_of_birth=date(1990, 5, 20))
    saved = save.sync_detailed("José", client=client, body=born)
    assert saved.status_code == HTTPStatus.NO_CONTENT, saved
    greeting = greet.sync("José", client=client)
    assert isinstance(greeting, models.Message), greeting
    assert greeting.message == "Hello, José! Happy birthday!", greeting
    problem = greet.sync("J1", client=client)
    assert isinstance(problem, models.Problem), problem
    assert problem.status == HTTPStatus.BAD_REQUEST, problem
    assert health.sync(client=client) == "OK"
    print("saved and greeted")


main()
