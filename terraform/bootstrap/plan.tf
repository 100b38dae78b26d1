# What terraform plan reads: the settings of the stacks, and their states. AWS has no narrower
# rule for most lists and descriptions, so it reads the settings of the whole account, but no
# data. It takes no lock, so that it writes nothing at all: a plan that races an apply may be
# out of date, and is made again before it is applied.

resource "aws_iam_policy" "read" {
  name        = "hello-birthday-read"
  path        = "/terraform/"
  description = "The settings of the stacks, and no data"
  policy      = data.aws_iam_policy_document.read.json
}

resource "aws_iam_role_policy_attachment" "plan" {
  role       = aws_iam_role.plan.name
  policy_arn = aws_iam_policy.read.arn
}

resource "aws_iam_role_policy" "plan" {
  name   = "states"
  role   = aws_iam_role.plan.name
  policy = data.aws_iam_policy_document.plan.json
}

data "aws_iam_policy_document" "read" {
  #checkov:skip=CKV_AWS_356: What is listed and described has no resource to name, or one that is not made yet.
  statement {
    sid       = "Settings"
    resources = ["*"]
    actions = [
      "acm:DescribeCertificate",
      "acm:ListTagsForCertificate",
      "autoscaling:Describe*",
      "backup:DescribeBackupJob",
      "backup:DescribeBackupVault",
      "backup:GetBackup*",
      "backup:ListTags",
      "cloudwatch:DescribeAlarms",
      "cloudwatch:GetDashboard",
      "cloudwatch:ListTagsForResource",
      "cognito-idp:DescribeUserPool*",
      "cognito-idp:GetUserPoolMfaConfig",
      "cognito-idp:ListTagsForResource",
      "ec2:Describe*",
      "ec2:GetInstanceUefiData",
      "ec2:GetManagedPrefixListEntries",
      "ec2:GetSecurityGroupsForVpc",
      "elasticfilesystem:Describe*",
      "elasticfilesystem:ListTagsForResource",
      "elasticloadbalancing:Describe*",
      "events:DescribeRule",
      "events:ListTagsForResource",
      "events:ListTargetsByRule",
      "iam:GetInstanceProfile",
      "iam:GetPolicy",
      "iam:GetPolicyVersion",
      "iam:GetRole",
      "iam:GetRolePolicy",
      "iam:ListAttachedRolePolicies",
      "iam:ListInstanceProfilesForRole",
      "iam:ListPolicyVersions",
      "iam:ListRolePolicies",
      "kms:DescribeKey",
      "kms:GetKeyPolicy",
      "kms:GetKeyRotationStatus",
      "kms:ListAliases",
      "kms:ListResourceTags",
      "logs:DescribeLogGroups",
      "logs:ListTagsForResource",
      "rds:Describe*",
      "rds:ListTagsForResource",
      "route53:GetChange",
      "route53:GetHostedZone",
      "route53:ListHostedZones",
      "route53:ListHostedZonesByName",
      "route53:ListResourceRecordSets",
      "route53:ListTagsForResource",
      "sns:GetSubscriptionAttributes",
      "sns:GetTopicAttributes",
      "sns:ListTagsForResource",
      "ssm:DescribeParameters",
      "wafv2:GetWebACL",
      "wafv2:GetWebACLForResource",
      "wafv2:ListTagsForResource",
    ]
  }

  statement {
    sid       = "Images"
    actions   = ["ssm:GetParameter", "ssm:GetParameterHistory", "ssm:ListTagsForResource"]
    resources = local.image_parameters
  }

  statement {
    sid       = "SettingsOfBuckets"
    resources = ["${local.arn}:s3:::hello-birthday-*"]
    actions = [
      "s3:GetAccelerateConfiguration",
      "s3:GetBucket*",
      "s3:GetEncryptionConfiguration",
      "s3:GetLifecycleConfiguration",
      "s3:GetReplicationConfiguration",
      "s3:ListBucket",
    ]
  }
}

locals {
  # Which image each stack runs, and has run.
  image_parameters = [for environment in var.environments : "${local.arn}:ssm:*:${local.account}:parameter/hello-birthday/${environment}/image"]
}

data "aws_iam_policy_document" "plan" {
  statement {
    sid       = "FindStates"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.state.arn]
  }

  statement {
    sid       = "ReadStates"
    actions   = ["s3:GetObject"]
    resources = [for key in local.state_keys : "${aws_s3_bucket.state.arn}/${key}"]
  }

  statement {
    sid       = "DecryptStates"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.state.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${var.region}.amazonaws.com"]
    }
  }

  # Whatever else is attached to the role one day: a plan of any branch reads no secret and
  # no personal data.
  statement {
    sid       = "NoData"
    effect    = "Deny"
    resources = ["*"]
    actions = [
      "backup:StartRestoreJob",
      "cognito-idp:AdminGetUser",
      "cognito-idp:ListUsers",
      "ec2:GetConsole*",
      "ec2:GetPasswordData",
      "elasticfilesystem:Client*",
      "logs:FilterLogEvents",
      "logs:GetLog*",
      "logs:StartLiveTail",
      "logs:StartQuery",
      "rds-data:*",
      "rds-db:connect",
      "rds:DownloadDBLogFilePortion",
      "secretsmanager:BatchGetSecretValue",
      "secretsmanager:GetSecretValue",
      "ssm:SendCommand",
      "ssm:StartSession",
    ]
  }

  # An image's id is none, another parameter may be.
  statement {
    sid           = "NoOtherParameters"
    effect        = "Deny"
    actions       = ["ssm:GetParameter*"]
    not_resources = local.image_parameters
  }

  statement {
    sid           = "NoOtherObjects"
    effect        = "Deny"
    actions       = ["s3:GetObject*"]
    not_resources = [for key in local.state_keys : "${aws_s3_bucket.state.arn}/${key}"]
  }

  statement {
    sid           = "NoOtherKeys"
    effect        = "Deny"
    actions       = ["kms:Decrypt"]
    not_resources = [aws_kms_key.state.arn]
  }
}
