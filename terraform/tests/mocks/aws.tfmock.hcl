# What has to parse in a plan that asks nobody.

mock_data "aws_iam_policy_document" {
  defaults = {
    json = "{\"Version\": \"2012-10-17\", \"Statement\": []}"
  }
}

mock_data "aws_availability_zones" {
  defaults = {
    names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  }
}

mock_data "aws_ec2_instance_type_offerings" {
  defaults = {
    locations = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  }
}

mock_data "aws_ec2_instance_type" {
  defaults = {
    supported_architectures = ["arm64"]
  }
}

mock_data "aws_ami" {
  defaults = {
    id           = "ami-0123456789abcdef0"
    architecture = "arm64"
    name         = "hello-birthday-1.0.0-arm64-20260101000000"
    tags         = { Service = "hello-birthday" }
  }
}

mock_data "aws_ssm_parameter" {
  defaults = {
    insecure_value = "ami-0123456789abcdef0"
  }
}

mock_data "aws_instances" {
  defaults = {
    ids = []
  }
}

mock_data "aws_autoscaling_group" {
  defaults = {
    launch_template = [{ id = "lt-0123456789abcdef0", name = "hello", version = "7" }]
  }
}

mock_data "aws_caller_identity" {
  defaults = {
    account_id = "123456789012"
  }
}

mock_data "aws_partition" {
  defaults = {
    partition = "aws"
  }
}

# What other resources refer to, and a test looks at.

mock_resource "aws_security_group" {
  override_during = plan
  defaults        = {}
}

mock_resource "aws_launch_template" {
  override_during = plan
  defaults = {
    id             = "lt-0123456789abcdef0"
    latest_version = 7
  }
}

mock_resource "aws_lb" {
  override_during = plan
  defaults = {
    arn      = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/hello/0123456789abcdef"
    dns_name = "hello.elb.example.com"
  }
}

mock_resource "aws_efs_file_system" {
  override_during = plan
  defaults = {
    arn = "arn:aws:elasticfilesystem:eu-central-1:123456789012:file-system/fs-0123"
  }
}

mock_resource "aws_efs_access_point" {
  override_during = plan
  defaults        = {}
}

mock_resource "aws_db_instance" {
  override_during = plan
  defaults = {
    arn                = "arn:aws:rds:eu-central-1:123456789012:db:hello"
    address            = "postgres.example.com"
    port               = 5432
    master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:of-postgres" }]
  }
}
