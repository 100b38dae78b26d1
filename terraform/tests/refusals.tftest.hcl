# Values that a stack refuses, each with a sentence that says what to change. A plan names
# all of them, so the runs differ only where a variable has several rules.

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

run "values_that_no_stack_can_have" {
  command = plan

  variables {
    # Too long for the name of a balancer.
    environment = "pre-production"
    region      = "Frankfurt"
    # An alias, which AWS does not roll back to.
    ami_id    = "resolve:ssm:/images/newest"
    ami_owner = "somebody"
    # Set by the stack itself.
    service_flags = { HELLO_BIRTHDAY_DATABASE_URL = "sqlite:elsewhere" }
    size          = { min = 1, max = 2 }
    # Longer than systemd waits.
    drain_timeout_seconds = 60
    # Would end old instances first.
    roll = { max_healthy_percent = 100 }
    # Too small to share out.
    cidr       = "10.0.0.0/24"
    zone_count = 1
    egress     = "proxy"
    # Outside its zone.
    domain       = "hello.example.org"
    client_cidrs = []
    # WAF does not know so low a rate.
    rate_limit            = 5
    database              = "mysql"
    postgres              = { min_capacity = 0 }
    backup_retention_days = 1
    alarm_emails          = { urgent = ["ops"] }
    # Longer than the deadline of a request.
    latency_seconds = 10
    # Set by the stack.
    tags = { Environment = "other" }
    # CloudWatch does not know it.
    log_retention_days = 45
  }

  expect_failures = [
    var.environment,
    var.region,
    var.ami_id,
    var.ami_owner,
    var.service_flags,
    var.size,
    var.drain_timeout_seconds,
    var.roll,
    var.cidr,
    var.zone_count,
    var.egress,
    var.domain,
    var.client_cidrs,
    var.rate_limit,
    var.database,
    var.postgres,
    var.backup_retention_days,
    var.alarm_emails,
    var.latency_seconds,
    var.tags,
    var.log_retention_days,
  ]
}

run "values_that_do_not_go_together" {
  command = plan

  variables {
    # In another region than the stack.
    alarm_topic_arns = { routine = ["arn:aws:sns:us-east-1:123456789012:chat"] }
    recovery_region  = "eu-central-1"
    # More than a line.
    service_flags = { HELLO_BIRTHDAY_TIME_ZONE = "UTC\nHELLO_BIRTHDAY_LOG_LEVEL=debug" }
    size          = { min = 4, max = 3 }
    # Given up while it bakes.
    roll = { bake_seconds = 7200 }
    # A network of its own.
    egress = "existing"
    # No domain, and no word of plain HTTP.
    domain          = null
    hosted_zone     = null
    database_beside = "sqlite"
  }

  expect_failures = [
    var.alarm_topic_arns,
    var.recovery_region,
    var.service_flags,
    var.size,
    var.roll,
    var.egress,
    var.domain,
    var.database_beside,
  ]
}

run "a_bake_that_no_alarm_could_end_signing_in_without_https_and_a_secret_of_another_stack" {
  command = plan

  variables {
    roll        = { bake_seconds = 60 }
    domain      = null
    hosted_zone = null
    plain_http  = true
    sign_in     = true
    # Of another stack, which instances may not read.
    sentry_dsn_parameter = "/hello-birthday/other/sentry-dsn"
  }

  expect_failures = [var.roll, var.sign_in, var.sentry_dsn_parameter]
}

run "an_existing_network_in_one_zone_and_a_certificate_without_an_arn" {
  command = plan

  variables {
    network         = { vpc_id = "vpc-0", public_subnet_ids = ["a"], private_subnet_ids = ["b"], data_subnet_ids = ["c"] }
    egress          = "existing"
    certificate_arn = "certificate"
  }

  expect_failures = [var.network, var.certificate_arn]
}
