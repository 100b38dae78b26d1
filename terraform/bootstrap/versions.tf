# The state's bucket, and the roles that GitHub's workflows assume. An administrator applies
# this once for each account: first with the state in a local file, which the output migrate
# then moves into the bucket.

terraform {
  required_version = ">= 1.11"

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
    # No Environment: only an administrator may change what has none.
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

  arn = "arn:${data.aws_partition.this.partition}"
  iam = "${local.arn}:iam::${local.account}"
  ec2 = "${local.arn}:ec2:*:${local.account}"

  # The name of each stack, which is also what all its other names begin with.
  stacks = { for environment in var.environments : environment => "hello-birthday-${environment}" }
  # Its names as they stand in an ARN.
  names = { for environment, name in local.stacks : environment => [name, "${name}-*"] }
}
