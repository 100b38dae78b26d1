# What is true of every stack, by its plan alone: no account and no credentials needed.
#   terraform init -backend=false && terraform test

mock_provider "aws" {
  source = "./tests/mocks"
}

mock_provider "aws" {
  alias  = "recovery"
  source = "./tests/mocks"
}

# Known before it is created, so that a plan shows what instances are configured with.
override_resource {
  target = module.postgres[0].aws_rds_cluster.this
  values = {
    cluster_resource_id = "cluster-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    endpoint            = "writer.example.com"
    reader_endpoint     = "readers.example.com"
    port                = 5432
    master_user_secret  = [{ secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!cluster-master" }]
  }
  override_during = plan
}

variables {
  environment = "test"
  ami_id      = "ami-0123456789abcdef0"
  database    = "sqlite"
  domain      = "hello.example.com"
  hosted_zone = "example.com"
}

run "a_stack_on_sqlite" {
  command = plan

  variables {
    drain_timeout_seconds = 45
    roll                  = { max_healthy_percent = 200, bake_seconds = 600 }
  }

  assert {
    condition = alltrue([for rule in aws_vpc_security_group_ingress_rule.service :
      rule.referenced_security_group_id == aws_security_group.load_balancer.id && rule.cidr_ipv4 == null
    ])
    error_message = "An instance accepts connections from others than the balancer."
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.service : rule.from_port]) == toset([8080, 8081])
    error_message = "An instance is reached on its public port and its admin port."
  }

  assert {
    condition = alltrue([for rule in aws_vpc_security_group_ingress_rule.database :
      rule.referenced_security_group_id == aws_security_group.service.id && rule.cidr_ipv4 == null
    ])
    error_message = "The database accepts connections from others than the instances."
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.clients : rule.from_port]) == toset([80, 443])
    error_message = "The balancer is reached by HTTP and HTTPS alone."
  }

  assert {
    condition     = startswith(aws_lb_listener.https[0].ssl_policy, "ELBSecurityPolicy-TLS13-")
    error_message = "The balancer does not speak TLS 1.3."
  }

  assert {
    condition     = aws_lb_listener.http.default_action[0].type == "redirect"
    error_message = "Plain HTTP is answered."
  }

  assert {
    condition     = output.url == "https://hello.example.com"
    error_message = "The URL is not the domain's."
  }

  assert {
    condition     = tonumber(aws_lb_target_group.this.deregistration_delay) > 45
    error_message = "The balancer lets go of requests that the instance is still answering."
  }

  assert {
    condition     = strcontains(local.host_files["/etc/hello-birthday/host"], "HELLO_BIRTHDAY_DRAIN_TIMEOUT=45s\n")
    error_message = "The instance lacks the drain timeout."
  }

  assert {
    condition     = aws_lb_target_group.this.health_check[0].path == "/readyz" && aws_lb_target_group.this.health_check[0].port == "8081"
    error_message = "The balancer does not ask whether the instance may get traffic."
  }

  assert {
    condition     = aws_launch_template.this.metadata_options[0].http_tokens == "required" && aws_launch_template.this.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "Metadata can be read without a token, or from behind the host."
  }

  assert {
    condition     = aws_launch_template.this.block_device_mappings[0].ebs[0].encrypted == "true"
    error_message = "The disk is not encrypted."
  }

  assert {
    condition     = aws_launch_template.this.key_name == null
    error_message = "Somebody's key lets them in."
  }

  assert {
    condition     = aws_autoscaling_group.this.instance_maintenance_policy[0].min_healthy_percentage == 100
    error_message = "Old instances end before new ones serve."
  }

  assert {
    condition     = strcontains(output.roll_command, " --max-healthy-percent 200 ") && strcontains(output.roll_command, " --bake-seconds 600 ")
    error_message = "The roll lacks a setting."
  }

  assert {
    condition     = strcontains(output.roll_command, " --alarms '${join(",", local.roll_alarms)}' ") && length(local.roll_alarms) >= 3
    error_message = "The roll does not watch the alarms."
  }

  assert {
    condition     = length(module.sqlite) == 1 && length(module.postgres) == 0
    error_message = "There is another database than SQLite's."
  }

  assert {
    condition     = !contains(keys(local.host_files), "/etc/hello-birthday/secret") && !strcontains(local.host_files["/etc/hello-birthday/host"], "DATABASE_URL")
    error_message = "The instance has settings of Postgres."
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.database : rule.from_port]) == toset([2049])
    error_message = "Another port than that of NFS is open."
  }

  assert {
    condition = length(distinct(concat(
      values(aws_subnet.public)[*].cidr_block, values(aws_subnet.private)[*].cidr_block, values(aws_subnet.data)[*].cidr_block
    ))) == 9
    error_message = "Two subnets have the same addresses."
  }

  assert {
    condition     = local.name == "hello-birthday-test" && alltrue([for name in [aws_cloudwatch_log_group.service.name, aws_cloudwatch_log_group.metrics.name, aws_autoscaling_group.this.name, aws_lb_target_group.this.name] : strcontains(name, local.name)])
    error_message = "A name does not carry the environment, so that two stacks do not fit into one region."
  }

  assert {
    condition     = alltrue([for name in [aws_iam_role.instance.name, aws_iam_role.backup.name, aws_iam_role.flow_logs[0].name] : startswith(name, "hello-birthday-test-eu-central-1-")])
    error_message = "A role's name does not carry the region, so that one environment does not fit into two regions."
  }

  assert {
    condition     = !strcontains(local.host_files["/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.d/stack.json"], "@STACK@") && can(jsondecode(local.host_files["/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.d/stack.json"]))
    error_message = "The agent lacks the stack's name."
  }

  assert {
    condition     = aws_flow_log.this[0].traffic_type == "REJECT"
    error_message = "Accepted connections are logged, which costs more than all other logs."
  }
}

run "with_endpoints_instances_reach_aws_alone" {
  command = plan

  variables {
    egress = "endpoints"
  }

  assert {
    condition     = length(aws_route.nat) == 0 && length(aws_vpc_security_group_egress_rule.internet) == 0 && toset(keys(aws_vpc_endpoint.this)) == toset(["ssm", "ssmmessages", "logs", "monitoring"])
    error_message = "An instance reaches the internet, or not what it needs of AWS."
  }

  assert {
    condition     = aws_launch_template.this.network_interfaces[0].associate_public_ip_address == "false"
    error_message = "An instance has a public address."
  }
}

run "a_single_nat_gateway_serves_all_zones" {
  command = plan

  variables {
    egress = "nat-single"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(aws_route.nat) == 3 && length(aws_vpc_endpoint.this) == 0
    error_message = "There is more than one gateway, or a zone without a route."
  }
}

run "each_zone_may_have_a_nat_gateway" {
  command = plan

  variables {
    egress = "nat"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 3 && length(aws_route.nat) == 3
    error_message = "A zone has no gateway of its own."
  }
}

run "with_public_addresses_nobody_gets_in_by_them" {
  command = plan

  variables {
    egress = "public"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 0 && length(aws_vpc_endpoint.this) == 0 && aws_launch_template.this.network_interfaces[0].associate_public_ip_address == "true"
    error_message = "An instance has no public address, or there is something dearer."
  }

  assert {
    condition = alltrue([for rule in aws_vpc_security_group_ingress_rule.service :
      rule.referenced_security_group_id == aws_security_group.load_balancer.id && rule.cidr_ipv4 == null
    ])
    error_message = "An instance accepts connections from others than the load balancer."
  }
}

run "an_existing_network_and_certificate_are_used" {
  command = plan

  variables {
    network = {
      vpc_id             = "vpc-0123456789abcdef0"
      public_subnet_ids  = ["subnet-a0000001", "subnet-a0000002"]
      private_subnet_ids = ["subnet-b0000001", "subnet-b0000002"]
      data_subnet_ids    = ["subnet-c0000001", "subnet-c0000002"]
    }
    egress          = "existing"
    hosted_zone     = null
    certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/0123"
    tags            = { CostCentre = "42" }
  }

  assert {
    condition     = length(aws_vpc.this) == 0 && length(aws_subnet.public) + length(aws_subnet.private) + length(aws_subnet.data) == 0 && length(aws_vpc_endpoint.s3) + length(aws_internet_gateway.this) + length(aws_flow_log.this) == 0
    error_message = "A network is made beside the existing one."
  }

  assert {
    condition     = toset(aws_autoscaling_group.this.vpc_zone_identifier) == toset(["subnet-b0000001", "subnet-b0000002"]) && toset(aws_lb.this.subnets) == toset(["subnet-a0000001", "subnet-a0000002"])
    error_message = "The instances or the load balancer are elsewhere."
  }

  assert {
    condition     = length(aws_acm_certificate.this) == 0 && length(aws_route53_record.this) == 0 && aws_lb_listener.https[0].certificate_arn == "arn:aws:acm:eu-central-1:123456789012:certificate/0123"
    error_message = "The existing certificate is not used, or a record is made."
  }

  assert {
    condition     = alltrue([for tag in aws_autoscaling_group.this.tag : tag.value == "42" if tag.key == "CostCentre"]) && length([for tag in aws_autoscaling_group.this.tag : tag if tag.key == "CostCentre"]) == 1
    error_message = "Tags are not passed on."
  }
}

run "a_rollback_is_stopped_by_no_alarm" {
  command = plan

  variables {
    rollback = true
  }

  assert {
    condition     = strcontains(local.roll_command_now, " --alarms '' ")
    error_message = "An alarm that is on stops the rollback."
  }

  assert {
    condition     = strcontains(output.roll_command, " --alarms '${join(",", local.roll_alarms)}' ")
    error_message = "A rollback leaves a change of an output for the next plan."
  }
}

run "without_an_image_the_recorded_one_is_kept" {
  command = plan

  variables {
    ami_id = null
  }

  override_data {
    target = data.aws_ssm_parameter.image[0]
    values = { insecure_value = "ami-0fedcba9876543210" }
  }

  assert {
    condition     = local.image == "ami-0fedcba9876543210" && aws_ssm_parameter.image.insecure_value == local.image
    error_message = "A plan without an image releases another one."
  }

  assert {
    condition     = aws_ssm_parameter.image.name == "/hello-birthday/test/image"
    error_message = "The image is recorded elsewhere."
  }
}

run "errors_are_reported_where_a_parameter_says" {
  command = plan

  variables {
    sentry_dsn_parameter = "/hello-birthday/test/sentry-dsn"
  }

  assert {
    condition     = strcontains(local.host_files["/etc/hello-birthday/host"], "HELLO_BIRTHDAY_SENTRY_DSN_FILE=${local.sentry_dsn_file}\n") && strcontains(local.host_files["/etc/hello-birthday/host"], "HELLO_BIRTHDAY_SENTRY_ENVIRONMENT=test\n")
    error_message = "The service lacks the DSN to report errors to."
  }

  assert {
    condition     = slice(yamldecode(local.user_data).bootcmd[0], 4, 8) == ["eu-central-1", "/hello-birthday/test/sentry-dsn", local.sentry_dsn_file, "hello-birthday"]
    error_message = "Nothing writes the file that the service reads."
  }
}

run "errors_are_reported_only_where_their_tracker_can_be_reached" {
  command = plan

  variables {
    sentry_dsn_parameter = "/hello-birthday/test/sentry-dsn"
    egress               = "endpoints"
  }

  expect_failures = [var.sentry_dsn_parameter]
}

run "an_image_of_another_service_is_refused" {
  command = plan

  override_data {
    target = data.aws_ami.this
    values = { id = "ami-0123456789abcdef0", architecture = "arm64", tags = { Service = "another" } }
  }

  expect_failures = [data.aws_ami.this]
}

run "an_image_for_another_processor_is_refused" {
  command = plan

  override_data {
    target = data.aws_ami.this
    values = { id = "ami-0123456789abcdef0", architecture = "x86_64", tags = { Service = "hello-birthday" } }
  }

  expect_failures = [data.aws_ami.this]
}

run "instances_that_use_the_other_database_keep_it" {
  command = plan

  override_data {
    target = data.aws_instances.with_other_database
    values = { ids = ["i-0123456789abcdef0"] }
  }

  expect_failures = [aws_autoscaling_group.this]
}

run "postgres_alone_leaves_no_sqlite" {
  command = plan

  variables {
    database = "postgres"
  }

  assert {
    condition     = length(module.sqlite) == 0 && length(module.postgres) == 1
    error_message = "There is another database than Postgres."
  }

  assert {
    condition     = !contains(keys(local.host_files), "/etc/systemd/system/srv-birthdays.mount.d/host.conf")
    error_message = "The instance mounts a file system."
  }

  assert {
    condition     = strcontains(local.host_files["/etc/hello-birthday/host"], "HELLO_BIRTHDAY_DATABASE_URL_FILE=/run/hello-birthday/database-url\n")
    error_message = "The instance lacks the name of the URL's secret."
  }

  assert {
    condition     = strcontains(local.host_files["/etc/hello-birthday/host"], "HELLO_BIRTHDAY_MIGRATE=check\n")
    error_message = "The service migrates, for which its role has no right."
  }

  assert {
    condition     = local.host_files["/etc/hello-birthday/rds"] == "AWS_REGION=eu-central-1\nDATABASE=hello\nHOST=writer.example.com\nOWNER=hello_owner\nPORT=5432\nUSER=hello\n"
    error_message = "The instance lacks how to sign in, or has more than that."
  }

  assert {
    condition = [
      for statement in data.aws_iam_policy_document.instance.statement : statement.resources if contains(statement.actions, "rds-db:connect")
      ] == [toset([
        "arn:aws:rds-db:eu-central-1:123456789012:dbuser:cluster-ABCDEFGHIJKLMNOPQRSTUVWXYZ/hello",
        "arn:aws:rds-db:eu-central-1:123456789012:dbuser:cluster-ABCDEFGHIJKLMNOPQRSTUVWXYZ/hello_owner",
    ])]
    error_message = "The instance signs in to its cluster as other roles than the service's."
  }

  assert {
    condition     = length([for statement in data.aws_iam_policy_document.instance.statement : statement if length(regexall("secretsmanager", join(" ", statement.actions))) > 0]) == 0
    error_message = "The instance reads a secret."
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.database : rule.from_port]) == toset([5432])
    error_message = "Another port than Postgres's is open."
  }
}

run "before_and_after_a_switch_any_instance_reaches_both_databases" {
  command = plan

  variables {
    database        = "postgres"
    database_beside = "sqlite"
  }

  assert {
    condition     = length(module.sqlite) == 1 && length(module.postgres) == 1 && length(local.host_files) == 4
    error_message = "One of the databases is not there, or not known to the instances."
  }
}

run "readers_are_found_by_an_endpoint_and_a_token_of_their_own" {
  command = plan

  variables {
    database = "postgres"
    postgres = { readers = 2, read_from_readers = true }
  }

  assert {
    condition     = strcontains(local.host_files["/etc/hello-birthday/host"], "HELLO_BIRTHDAY_READ_DATABASE_URL_FILE=/run/hello-birthday/read-database-url\n")
    error_message = "The service does not read from the readers."
  }

  assert {
    condition     = strcontains(local.host_files["/etc/hello-birthday/rds"], "READ_HOST=readers.example.com\n")
    error_message = "The instance does not sign in to the readers."
  }
}

run "a_reader_that_is_there_to_take_over_is_not_read" {
  command = plan

  variables {
    database = "postgres"
    postgres = { readers = 1 }
  }

  assert {
    condition     = !strcontains(join("", values(local.host_files)), "READ_")
    error_message = "Users are looked up in a reader, which lags behind the writer."
  }
}

run "capacities_and_upgrades_that_aurora_does_not_have" {
  command = plan

  variables {
    database = "postgres"
    postgres = { min_capacity = 0.25, max_capacity = 0.5, readers = 16, major_version = "14", allow_major_version_upgrade = true }
  }

  expect_failures = [var.postgres]
}

run "readers_to_read_from_that_are_not_there" {
  command = plan

  variables {
    database = "postgres"
    postgres = { read_from_readers = true }
  }

  expect_failures = [var.postgres]
}

run "what_a_stack_without_a_domain_serves_is_said_to_be_plain" {
  command = plan

  variables {
    domain      = null
    hosted_zone = null
    plain_http  = true
  }

  assert {
    condition     = length(aws_lb_listener.https) == 0 && aws_lb_listener.http.default_action[0].type == "forward" && startswith(output.url, "http://")
    error_message = "A stack without a domain does not serve HTTP."
  }
}
