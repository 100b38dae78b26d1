# Plans an environment without an AWS. What the dashboard names is known before it is made.

mock_provider "aws" {
  source = "./tests/mocks"

  mock_resource "aws_lb" {
    override_during = plan
    defaults = {
      arn        = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/hello/0123456789abcdef"
      arn_suffix = "app/hello/0123456789abcdef"
    }
  }

  mock_resource "aws_lb_target_group" {
    override_during = plan
    defaults = {
      arn        = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/hello/0123456789abcdef"
      arn_suffix = "targetgroup/hello/0123456789abcdef"
    }
  }

  mock_resource "aws_acm_certificate" {
    override_during = plan
    defaults = {
      arn                       = "arn:aws:acm:eu-central-1:123456789012:certificate/0123"
      domain_validation_options = [{ resource_record_name = "_1.example.com", resource_record_type = "CNAME", resource_record_value = "_2.example.com" }]
    }
  }

  mock_resource "aws_cloudwatch_metric_alarm" {
    override_during = plan
    defaults        = {}
  }

  mock_resource "aws_efs_file_system" {
    override_during = plan
    defaults = {
      id  = "fs-0123456789abcdef0"
      arn = "arn:aws:elasticfilesystem:eu-central-1:123456789012:file-system/fs-0123456789abcdef0"
    }
  }
}

mock_provider "aws" {
  alias  = "recovery"
  source = "./tests/mocks"
}

run "plan" {
  command = plan
}
