# The instances: what each is started from, and the group that keeps them.

locals {
  # The roles of postgres/roles.sql: one serves, and the other one owns the tables.
  database_roles     = { service = "hello", owner = "hello_owner" }
  reads_from_readers = var.database == "postgres" && var.postgres.read_from_readers

  # What systemd reads as the service's environment, on this stack's hosts.
  flags = merge(
    var.service_flags,
    { HELLO_BIRTHDAY_DRAIN_TIMEOUT = "${var.drain_timeout_seconds}s" },
    var.database == "postgres" ? {
      HELLO_BIRTHDAY_DATABASE_URL_FILE = "/run/hello-birthday/database-url"
      HELLO_BIRTHDAY_POSTGRES_CA_FILE  = "/etc/hello-birthday/postgres-ca.pem"
      # hello-birthday-migrate.service does it, as the owner of the tables.
      HELLO_BIRTHDAY_MIGRATE = "check"
    } : {},
    local.reads_from_readers ? {
      HELLO_BIRTHDAY_READ_DATABASE_URL_FILE = "/run/hello-birthday/read-database-url"
    } : {},
  )

  # What a host of the image learns at its start. Both databases are there while both
  # exist, so that any host can copy users from one to the other.
  host_files = merge(
    { "/etc/hello-birthday/host" = join("", [for name, value in local.flags : "${name}=${value}\n"]) },
    contains(local.databases, "sqlite") ? {
      "/etc/systemd/system/srv-birthdays.mount.d/host.conf" = <<-EOT
        [Mount]
        What=${module.sqlite[0].file_system_id}:/
        Options=_netdev,nosuid,nodev,noexec,tls,iam,accesspoint=${module.sqlite[0].access_point_id}
      EOT
    } : {},
    contains(local.databases, "postgres") ? {
      # Each host signs in by IAM authentication, so that it is told no secret.
      "/etc/hello-birthday/rds" = join("", [for name, value in merge(
        {
          AWS_REGION = var.region
          HOST       = module.postgres[0].host
          PORT       = module.postgres[0].port
          DATABASE   = module.postgres[0].database
          USER       = local.database_roles.service
          OWNER      = local.database_roles.owner
        },
        local.reads_from_readers ? { READ_HOST = module.postgres[0].reader_host } : {},
      ) : "${name}=${value}\n"])
    } : {},
  )

  user_data = "#cloud-config\n${yamlencode({
    write_files = [for path, content in local.host_files : { path = path, content = content }]
  })}"
}

# Its default version stays the first: every start of an instance names a version.
resource "aws_launch_template" "this" {
  name                   = local.name
  image_id               = var.ami_id
  instance_type          = var.instance_type
  ebs_optimized          = true
  vpc_security_group_ids = [aws_security_group.service.id]
  user_data              = base64encode(local.user_data)

  iam_instance_profile {
    arn = aws_iam_instance_profile.instance.arn
  }

  # Session tokens only (IMDSv2), and one hop: what runs on the host, and nothing behind it.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = 8
      encrypted             = true
      delete_on_termination = true
    }
  }

  # Figures each minute rather than every five: alarms and scaling go by them.
  monitoring {
    enabled = true
  }

  # The provider's default tags do not reach what the group starts.
  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume", "network-interface"])

    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags, { Name = local.name })
    }
  }
}

# Where the service runs now, if that is not what it is to use.
data "aws_autoscaling_groups" "with_other_database" {
  filter {
    name   = "tag:Name"
    values = [local.name]
  }

  filter {
    name   = "tag:Database"
    values = var.database == "sqlite" ? ["postgres"] : ["sqlite"]
  }
}

resource "aws_autoscaling_group" "this" {
  name                = local.name
  min_size            = var.size.min
  max_size            = var.size.max
  vpc_zone_identifier = [for subnet in aws_subnet.private : subnet.id]
  target_group_arns   = [aws_lb_target_group.this.arn]
  enabled_metrics     = ["GroupDesiredCapacity", "GroupInServiceInstances", "GroupPendingInstances", "GroupTerminatingInstances"]

  # What the balancer finds unhealthy is replaced; a host boots and mounts in less.
  health_check_type         = "ELB"
  health_check_grace_period = 120
  default_instance_warmup   = var.roll.warmup_seconds

  # The first deploy waits until the balancer gets an answer from all of them.
  min_elb_capacity          = var.size.min
  wait_for_capacity_timeout = "15m"

  launch_template {
    id = aws_launch_template.this.id
    # A number: AWS does not roll back to $Latest.
    version = aws_launch_template.this.latest_version
  }

  # Whatever replaces instances, zones and health checks too, starts new ones first.
  instance_maintenance_policy {
    min_healthy_percentage = 100
    max_healthy_percentage = var.roll.max_healthy_percent
  }

  dynamic "tag" {
    for_each = merge(local.tags, { Name = local.name, Database = var.database })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = false
    }
  }

  lifecycle {
    # The roll sets the version; if it did not come to pass, it stays the old one. The
    # number of instances is the load's.
    ignore_changes = [launch_template, desired_capacity]

    precondition {
      condition     = length(data.aws_autoscaling_groups.with_other_database.names) == 0 || var.database_beside != null
      error_message = "The service has its users in the other database: name that one in database_beside, first to copy them and then to keep it."
    }
  }

  # What a host needs from its first second on.
  depends_on = [
    aws_cloudwatch_log_group.metrics,
    aws_cloudwatch_log_group.service,
    aws_iam_role_policy.instance,
    aws_lb_listener.http,
    aws_lb_listener.https,
    aws_route.nat,
    aws_vpc_endpoint.s3,
    aws_vpc_endpoint.this,
    aws_vpc_security_group_egress_rule.database,
    aws_vpc_security_group_egress_rule.endpoints,
    aws_vpc_security_group_egress_rule.nat,
    aws_vpc_security_group_egress_rule.s3,
    aws_vpc_security_group_ingress_rule.database,
    aws_vpc_security_group_ingress_rule.endpoints,
    aws_vpc_security_group_ingress_rule.service,
    module.postgres,
    module.sqlite,
  ]
}

resource "aws_autoscaling_policy" "requests" {
  name                   = "requests-per-instance"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = var.requests_per_instance

    predefined_metric_specification {
      predefined_metric_type = "ALBRequestCountPerTarget"
      resource_label         = "${aws_lb.this.arn_suffix}/${aws_lb_target_group.this.arn_suffix}"
    }
  }
}
