terraform {
  # Locks its state in S3 itself, which 1.11 made a stable feature.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }

  # Bucket, key and region come from the command line: bootstrap/ prints them.
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }
}

# Holds the copies of the backups.
provider "aws" {
  alias  = "recovery"
  region = var.recovery_region

  default_tags {
    tags = local.tags
  }
}

locals {
  arn_prefix = "arn:${data.aws_partition.this.partition}"
  account_id = data.aws_caller_identity.this.account_id

  # The name of everything in the stack's region.
  name = "hello-birthday-${var.environment}"
  # IAM's names are global, so that one environment can be in two regions.
  global_name = "${local.name}-${var.region}"

  tags = merge(var.tags, {
    Service     = "hello-birthday"
    Environment = var.environment
    ManagedBy   = "terraform"
  })
}

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}
