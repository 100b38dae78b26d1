# The instances: their launch template and their group.

locals {
  # The roles of postgres/roles.sql: one serves, and the other one owns the tables.
  database_roles     = { service = "hello", owner = "hello_owner" }
  reads_from_readers = var.database == "postgres" && var.postgres.read_from_readers

  # The service's environment, which systemd reads on the host.
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
    var.sentry_dsn_parameter == null ? {} : {
      HELLO_BIRTHDAY_SENTRY_DSN_FILE    = local.sentry_dsn_file
      HELLO_BIRTHDAY_SENTRY_ENVIRONMENT = var.environment
    },
  )
  sentry_dsn_file = "/etc/hello-birthday/sentry-dsn"

  # Files that cloud-init writes at an instance's first start. Both databases are named
  # while both exist, so that any host can copy users from one to the other.
  host_files = merge(
    {
      "/etc/hello-birthday/host" = join("", [for name, value in local.flags : "${name}=${value}\n"])
      # The image's file, which its bake checked, with the stack's name filled in.
      "/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.d/stack.json" = replace(
        file("${path.module}/../ansible/roles/hello_birthday/files/stack.json"), "@STACK@", local.name
      )
    },
    contains(local.databases, "sqlite") ? {
      "/etc/systemd/system/srv-birthdays.mount.d/host.conf" = <<-EOT
        [Mount]
        What=${module.sqlite[0].file_system_id}:/
        Options=_netdev,nosuid,nodev,noexec,tls,iam,accesspoint=${module.sqlite[0].access_point_id}
      EOT
    } : {},
    contains(local.databases, "postgres") ? {
      # Each host signs in by IAM authentication, so that it gets no secret.
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

  # Run at each start and before the service, so that a new DSN is there after a restart.
  boot_commands = [for parameter in var.sentry_dsn_parameter[*] : [
    "sh", "-c", file("${path.module}/fetch-sentry-dsn"), "fetch-sentry-dsn", var.region, parameter, local.sentry_dsn_file, "hello-birthday"
  ]]

  user_data = "#cloud-config\n${yamlencode(merge(
    { write_files = [for path, content in local.host_files : { path = path, content = content }] },
    { for key, commands in { bootcmd = local.boot_commands } : key => commands if length(commands) > 0 },
  ))}"
}

# The release: checked before anything is made of it.
data "aws_ami" "this" {
  owners = [var.ami_owner]

  filter {
    name   = "image-id"
    values = [local.image]
  }

  lifecycle {
    postcondition {
      # Tags are not shared with other accounts, names are.
      condition     = var.ami_owner == "self" ? lookup(self.tags, "Service", "") == "hello-birthday" : startswith(self.name, "hello-birthday-")
      error_message = "The image ${local.image} is none of this service: bake one with packer/ and give its id."
    }

    postcondition {
      condition     = contains(data.aws_ec2_instance_type.this.supported_architectures, self.architecture)
      error_message = "The image ${local.image} is for ${self.architecture}, which ${var.instance_type} does not run: choose another instance_type, or bake the image for it."
    }
  }
}

data "aws_ec2_instance_type" "this" {
  instance_type = var.instance_type
}

# The template's default version stays the first: every start of an instance names a version.
resource "aws_launch_template" "this" {
  #checkov:skip=CKV_AWS_88: Public addresses are one of the ways out; the security group lets nobody in by them.
  name          = local.name
  image_id      = data.aws_ami.this.id
  instance_type = var.instance_type
  ebs_optimized = true
  user_data     = base64encode(local.user_data)

  network_interfaces {
    associate_public_ip_address = var.egress == "public"
    security_groups             = [aws_security_group.service.id]
    delete_on_termination       = true
  }

  iam_instance_profile {
    arn = aws_iam_instance_profile.instance.arn
  }

  # Session tokens only (IMDSv2), and one hop: for processes on the host, not behind it.
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

  # The provider's default tags do not reach what the group starts. Database is what the
  # instances of this version use.
  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume", "network-interface"])

    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags, { Name = local.name, Database = var.database })
    }
  }
}

# Instances that use the other database, whatever was asked for before.
data "aws_instances" "with_other_database" {
  instance_tags = {
    Service     = "hello-birthday"
    Environment = var.environment
    Database    = var.database == "sqlite" ? "postgres" : "sqlite"
  }
  instance_state_names = ["pending", "running"]
}

resource "aws_autoscaling_group" "this" {
  name                = local.name
  min_size            = var.size.min
  max_size            = var.size.max
  vpc_zone_identifier = var.egress == "public" ? local.public_subnet_ids : local.private_subnet_ids
  target_group_arns   = [aws_lb_target_group.this.arn]
  enabled_metrics     = ["GroupDesiredCapacity", "GroupInServiceInstances", "GroupPendingInstances", "GroupTerminatingInstances"]

  # Instances that fail the load balancer's health checks are replaced. A release that is
  # never ready has to be seen first by the alarm `unhealthy`, which rolls it back and
  # takes three whole minutes: an instance that was replaced earlier would not count.
  health_check_type         = "ELB"
  health_check_grace_period = 300
  default_instance_warmup   = var.roll.warmup_seconds

  # The first apply waits until the load balancer finds all instances healthy.
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
    for_each = merge(local.tags, { Name = local.name })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = false
    }
  }

  lifecycle {
    # `roll` sets the version, and a failed roll leaves the old one. Scaling sets the
    # number of instances.
    ignore_changes = [launch_template, desired_capacity]

    precondition {
      condition     = length(data.aws_instances.with_other_database.ids) == 0 || var.database_beside != null
      error_message = "Instances run on the other database: name it in database_beside, to copy its users and to keep it until no instance uses it."
    }
  }

  # Without a listener the load balancer checks no target, so that none becomes healthy;
  # and public addresses keep the internet gateway from being deleted.
  depends_on = [aws_lb_listener.http, aws_lb_listener.https, aws_route.internet]
}

resource "aws_autoscaling_policy" "requests" {
  name                   = "${local.name}-requests"
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

# The version that the group runs once the roll is over.
data "aws_autoscaling_group" "this" {
  name = aws_autoscaling_group.this.name

  depends_on = [terraform_data.roll]
}

locals {
  running_version = one(data.aws_autoscaling_group.this.launch_template[*].version)
}
