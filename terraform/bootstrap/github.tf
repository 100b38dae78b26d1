# GitHub's workflows, and the roles that they may assume: no access key is kept at GitHub.

resource "aws_iam_openid_connect_provider" "github" {
  # One for all repositories of an account: where there is one already, import it. AWS
  # trusts the certificate by its own authorities, so no thumbprint is given.
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

# Any branch and any pull request of the repository may ask what an apply would do. GitHub
# gives no token to those of forks.
resource "aws_iam_role" "plan" {
  name                 = "hello-birthday-plan"
  path                 = "/terraform/"
  description          = "Reads the settings of the stacks, and no data: terraform plan -lock=false"
  assume_role_policy   = data.aws_iam_policy_document.trust["plan"].json
  max_session_duration = 3600
}

# One for each environment, for jobs that GitHub has let into it.
resource "aws_iam_role" "apply" {
  for_each = var.environments

  name               = "hello-birthday-apply-${each.key}"
  path               = "/terraform/"
  description        = "Changes the stack ${each.key}: terraform apply"
  assume_role_policy = data.aws_iam_policy_document.trust["apply-${each.key}"].json
  # A first apply waits for a database, and any apply for a roll with its bake time.
  max_session_duration = local.apply_seconds
}

# For one branch rather than a GitHub environment: a branch that is missing gives no token,
# while an environment that is missing is made without rules. An image is only offered to
# the stacks; what GitHub lets into their environments decides which of them runs.
resource "aws_iam_role" "bake" {
  name                 = "hello-birthday-bake"
  path                 = "/terraform/"
  description          = "Bakes images: packer build"
  assume_role_policy   = data.aws_iam_policy_document.trust["bake"].json
  max_session_duration = 2 * 3600
}

resource "aws_iam_role" "retire" {
  name                 = "hello-birthday-retire"
  path                 = "/terraform/"
  description          = "Removes images that nothing needs: retire-images"
  assume_role_policy   = data.aws_iam_policy_document.trust["retire"].json
  max_session_duration = 3600
}

locals {
  apply_seconds = 3 * 3600

  # What GitHub's token says of a job that may assume each role.
  subjects = merge(
    {
      plan   = ["pull_request", "ref:refs/heads/*"]
      bake   = ["ref:refs/heads/${var.branch}"]
      retire = ["ref:refs/heads/${var.branch}"]
    },
    { for environment in var.environments : "apply-${environment}" => ["environment:${environment}"] },
  )
}

data "aws_iam_policy_document" "trust" {
  for_each = local.subjects

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [aws_iam_openid_connect_provider.github.arn]
    }

    condition {
      test     = "StringEquals"
      variable = "token.actions.githubusercontent.com:aud"
      values   = ["sts.amazonaws.com"]
    }

    condition {
      test     = "StringLike"
      variable = "token.actions.githubusercontent.com:sub"
      values   = [for subject in each.value : "repo:${var.repository}:${subject}"]
    }
  }
}
