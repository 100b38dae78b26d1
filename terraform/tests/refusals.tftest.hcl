# Values that a stack refuses, each with a sentence that says what to change.

mock_provider "aws" {
  source = "./tests/mocks"
}

mock_provider "aws" {
  alias  = "recovery"
  source = "./tests/mocks"
}

variables {
  environment = "test"
  ami_id      = "ami-0123456789abcdef0"
  database    = "sqlite"
  domain      = "hello.example.com"
  hosted_zone = "example.com"
}

run "an_environment_that_is_too_long_for_a_balancer" {
  command = plan

  variables {
    environment = "pre-production"
  }

  expect_failures = [var.environment]
}

run "a_region_that_is_none" {
  command = plan

  variables {
    region = "Frankfurt"
  }

  expect_failures = [var.region]
}

run "copies_in_the_same_region" {
  command = plan

  variables {
    recovery_region = "eu-central-1"
  }

  expect_failures = [var.recovery_region]
}

run "an_alias_for_an_image" {
  command = plan

  variables {
    ami_id = "resolve:ssm:/images/newest"
  }

  expect_failures = [var.ami_id]
}

run "a_flag_that_the_stack_sets_itself" {
  command = plan

  variables {
    service_flags = { HELLO_BIRTHDAY_DATABASE_URL = "sqlite:elsewhere" }
  }

  expect_failures = [var.service_flags]
}

run "a_flag_that_is_more_than_a_line" {
  command = plan

  variables {
    service_flags = { HELLO_BIRTHDAY_TIME_ZONE = "UTC\nHELLO_BIRTHDAY_LOG_LEVEL=debug" }
  }

  expect_failures = [var.service_flags]
}

run "a_group_of_one" {
  command = plan

  variables {
    size = { min = 1, max = 2 }
  }

  expect_failures = [var.size]
}

run "fewer_at_most_than_at_least" {
  command = plan

  variables {
    size = { min = 4, max = 3 }
  }

  expect_failures = [var.size]
}

run "a_drain_longer_than_systemd_waits" {
  command = plan

  variables {
    drain_timeout_seconds = 60
  }

  expect_failures = [var.drain_timeout_seconds]
}

run "a_roll_that_ends_old_instances_first" {
  command = plan

  variables {
    roll = { max_healthy_percent = 100 }
  }

  expect_failures = [var.roll]
}

run "a_roll_given_up_while_it_bakes" {
  command = plan

  variables {
    roll = { bake_seconds = 7200 }
  }

  expect_failures = [var.roll]
}

run "a_bake_that_no_alarm_could_end" {
  command = plan

  variables {
    roll = { bake_seconds = 60 }
  }

  expect_failures = [var.roll]
}

run "a_network_too_small_to_share_out" {
  command = plan

  variables {
    cidr = "10.0.0.0/24"
  }

  expect_failures = [var.cidr]
}

run "a_single_zone" {
  command = plan

  variables {
    zone_count = 1
  }

  expect_failures = [var.zone_count]
}

run "no_such_egress" {
  command = plan

  variables {
    egress = "proxy"
  }

  expect_failures = [var.egress]
}

run "no_domain_and_no_word_of_plain_http" {
  command = plan

  variables {
    domain      = null
    hosted_zone = null
  }

  expect_failures = [var.domain]
}

run "a_domain_outside_its_zone" {
  command = plan

  variables {
    domain = "hello.example.org"
  }

  expect_failures = [var.domain]
}

run "a_rate_that_waf_does_not_know" {
  command = plan

  variables {
    rate_limit = 5
  }

  expect_failures = [var.rate_limit]
}

run "signing_in_without_https" {
  command = plan

  variables {
    domain      = null
    hosted_zone = null
    plain_http  = true
    sign_in     = true
  }

  expect_failures = [var.sign_in]
}

run "no_such_database" {
  command = plan

  variables {
    database = "mysql"
  }

  expect_failures = [var.database]
}

run "a_database_beside_itself" {
  command = plan

  variables {
    database_beside = "sqlite"
  }

  expect_failures = [var.database_beside]
}

run "an_instance_class_that_is_none" {
  command = plan

  variables {
    postgres = { instance_class = "large" }
  }

  expect_failures = [var.postgres]
}

run "backups_of_a_day" {
  command = plan

  variables {
    backup_retention_days = 1
  }

  expect_failures = [var.backup_retention_days]
}

run "an_address_that_is_none" {
  command = plan

  variables {
    alarm_emails = ["ops"]
  }

  expect_failures = [var.alarm_emails]
}

run "a_latency_beyond_the_deadline" {
  command = plan

  variables {
    latency_seconds = 10
  }

  expect_failures = [var.latency_seconds]
}

run "clients_from_nowhere" {
  command = plan

  variables {
    client_cidrs = []
  }

  expect_failures = [var.client_cidrs]
}

run "days_that_cloudwatch_does_not_know" {
  command = plan

  variables {
    log_retention_days = 45
  }

  expect_failures = [var.log_retention_days]
}
