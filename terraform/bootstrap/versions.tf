# What has to be there before Terraform can keep a state and GitHub can run it. Applied
# once for each account, by an administrator: first with the state in a local file, which
# the output migrate then moves into the bucket.

terraform {
  # 1.9 lets a variable's rule name another variable.
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    # No Environment: what has none is nobody's to change but an administrator's.
    tags = {
      Service   = "hello-birthday"
      ManagedBy = "terraform"
    }
  }
}

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

locals {
  account = data.aws_caller_identity.this.account_id

  # What belongs to one account, in any region.
  arn = "arn:${data.aws_partition.this.partition}"
  iam = "${local.arn}:iam::${local.account}"
}
