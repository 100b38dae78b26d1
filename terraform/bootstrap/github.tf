# GitHub's workflows, and the roles that they may assume: no key of ours is kept there.

resource "aws_iam_openid_connect_provider" "github" {
  # One for all repositories of an account: where it is there already, import it. AWS
  # trusts the certificate by its own authorities, so no thumbprint is given.
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

# Any branch and any pull request of the repository may ask what an apply would do. GitHub
# gives no token to those of forks.
resource "aws_iam_role" "plan" {
  name                 = "hello-birthday-plan"
  path                 = "/terraform/"
  description          = "Reads what the stacks are made of, and no data: terraform plan -lock=false"
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
  # A first apply waits for a database, and any for a roll with its bake time.
  max_session_duration = 3 * 3600
}

locals {
  # What GitHub's token says of a job that may become each role.
  subjects = merge(
    { plan = ["pull_request", "ref:refs/heads/*"] },
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
