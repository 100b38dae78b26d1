terraform {
  # 1.10 locks state in S3 itself; 1.9 lets a variable's rule name another variable.
  required_version = ">= 1.10"

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

# Where copies of the backups are kept.
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

  # The name of everything that needs one.
  name = "hello-birthday-${var.environment}"

  tags = {
    Service     = "hello-birthday"
    Environment = var.environment
    ManagedBy   = "terraform"
  }
}

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}
