# What is true of every stack, by its plan alone: no account and no credentials needed.
#   terraform init -backend=false && terraform test

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
    error_message = "The instance is not told how long it may drain."
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
    error_message = "The roll is not told what was set."
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
    error_message = "The instance is told of Postgres."
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
    condition     = length(aws_route.nat) == 0 && length(aws_vpc_security_group_egress_rule.nat) == 0 && length(aws_vpc_endpoint.this) >= 5
    error_message = "An instance reaches the internet."
  }
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
    error_message = "The instance is not told where the URL is."
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
    condition     = length(module.sqlite) == 1 && length(module.postgres) == 1 && length(local.host_files) == 3
    error_message = "One of the databases is not there, or not known to the instances."
  }
}

run "a_replica_is_read_with_the_primary_s_password" {
  command = plan

  variables {
    database = "postgres"
    postgres = { read_replica = true }
  }

  assert {
    condition     = length(regexall("HELLO_BIRTHDAY_READ_DATABASE_URL=postgres://[^@\n]+:5432\n", local.host_files["/etc/hello-birthday/host"])) == 1
    error_message = "The instance is not told of the replica, or is told a password."
  }
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
