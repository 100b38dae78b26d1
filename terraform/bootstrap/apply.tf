# What terraform apply changes: one stack, of the services that it is made of. Where AWS
# lets a rule name a stack's own things it does; the rest is held apart by tags, which
# every stack puts on all that it makes.

resource "aws_iam_role_policy_attachment" "apply_read" {
  for_each = var.environments

  role       = aws_iam_role.apply[each.key].name
  policy_arn = aws_iam_policy.read.arn
}

resource "aws_iam_policy" "change" {
  name        = "hello-birthday-change"
  path        = "/terraform/"
  description = "The services that a stack is made of"
  policy      = data.aws_iam_policy_document.change.json
}

resource "aws_iam_role_policy_attachment" "apply_change" {
  for_each = var.environments

  role       = aws_iam_role.apply[each.key].name
  policy_arn = aws_iam_policy.change.arn
}

resource "aws_iam_role_policy" "apply" {
  for_each = var.environments

  name   = "stack"
  role   = aws_iam_role.apply[each.key].name
  policy = data.aws_iam_policy_document.apply[each.key].json
}

data "aws_iam_policy_document" "change" {
  #checkov:skip=CKV_AWS_109: What it may do to other stacks is denied by tag beside this.
  #checkov:skip=CKV_AWS_111: What it may do to other stacks is denied by tag beside this.
  #checkov:skip=CKV_AWS_356: What is made has no name yet, and many of these know no resource.
  statement {
    sid       = "Services"
    resources = ["*"]
    actions = [
      "acm:AddTagsToCertificate",
      "acm:DeleteCertificate",
      "acm:RemoveTagsFromCertificate",
      "acm:RequestCertificate",
      "autoscaling:*",
      # It makes the last backup of a file system. Backups themselves, and the logs in a
      # bucket, it does not delete: a whole stack is destroyed by an administrator.
      "backup-storage:MountCapsule",
      "backup:CreateBackup*",
      "backup:StartBackupJob",
      "backup:DeleteBackupPlan",
      "backup:DeleteBackupSelection",
      "backup:DeleteBackupVault",
      "backup:DeleteBackupVaultAccessPolicy",
      "backup:DeleteBackupVaultLockConfiguration",
      "backup:PutBackupVault*",
      "backup:TagResource",
      "backup:UntagResource",
      "backup:UpdateBackupPlan",
      "cloudwatch:DeleteAlarms",
      "cloudwatch:DeleteDashboards",
      "cloudwatch:PutDashboard",
      "cloudwatch:PutMetricAlarm",
      "cloudwatch:TagResource",
      "cloudwatch:UntagResource",
      "cognito-idp:*UserPool",
      "cognito-idp:*UserPoolClient",
      "cognito-idp:*UserPoolDomain",
      "cognito-idp:SetUserPoolMfaConfig",
      "cognito-idp:TagResource",
      "cognito-idp:UntagResource",
      "ec2:*Address*",
      "ec2:*FlowLogs",
      "ec2:*InternetGateway",
      "ec2:*LaunchTemplate*",
      "ec2:*NatGateway",
      # Of the mount targets.
      "ec2:*NetworkInterface",
      "ec2:ModifyNetworkInterfaceAttribute",
      "ec2:*Route",
      "ec2:*RouteTable*",
      "ec2:*SecurityGroup*",
      "ec2:*Subnet*",
      "ec2:*Tags",
      "ec2:*Vpc",
      "ec2:*VpcAttribute",
      "ec2:*VpcEndpoint*",
      # The group runs its template in the name of its creator.
      "ec2:RunInstances",
      "elasticfilesystem:Create*",
      "elasticfilesystem:Delete*",
      "elasticfilesystem:Modify*",
      "elasticfilesystem:Put*",
      "elasticfilesystem:TagResource",
      "elasticfilesystem:UntagResource",
      "elasticfilesystem:Update*",
      "elasticloadbalancing:*",
      "logs:AssociateKmsKey",
      "logs:CreateLogDelivery",
      "logs:CreateLogGroup",
      "logs:DeleteLogDelivery",
      "logs:DeleteLogGroup",
      "logs:DeleteRetentionPolicy",
      "logs:DisassociateKmsKey",
      "logs:PutRetentionPolicy",
      "logs:TagResource",
      "logs:UntagResource",
      "rds:AddTagsToResource",
      "rds:CreateDB*",
      "rds:DeleteDB*",
      "rds:ModifyDB*",
      "rds:RebootDBInstance",
      "rds:RemoveTagsFromResource",
      "rds:ResetDBParameterGroup",
      # An endpoint's own name is in a zone of its VPC.
      "route53:AssociateVPCWithHostedZone",
      "route53:ChangeResourceRecordSets",
      "wafv2:*WebACL",
      "wafv2:TagResource",
      "wafv2:UntagResource",
    ]
  }

  # That of a database with a replica, which RDS does not manage.
  statement {
    sid       = "PasswordOfOurOwn"
    resources = ["${local.arn}:secretsmanager:*:${local.account}:secret:hello-birthday-*"]
    actions = [
      "secretsmanager:CreateSecret",
      "secretsmanager:DeleteSecret",
      "secretsmanager:GetSecretValue",
      "secretsmanager:PutSecretValue",
      "secretsmanager:TagResource",
      "secretsmanager:UpdateSecret*",
    ]
  }

  statement {
    sid       = "NewPasswords"
    resources = ["*"]
    actions   = ["secretsmanager:GetRandomPassword"]
  }

  # RDS makes, rotates and deletes the others; nobody here reads them.
  statement {
    sid       = "DatabasePassword"
    resources = ["${local.arn}:secretsmanager:*:${local.account}:secret:rds!*"]
    actions   = ["secretsmanager:CreateSecret", "secretsmanager:RotateSecret", "secretsmanager:TagResource"]
  }

  statement {
    sid       = "ServicesOfTheirOwnRoles"
    resources = ["${local.iam}:role/aws-service-role/*"]
    actions   = ["iam:CreateServiceLinkedRole"]

    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values = [
        "autoscaling.amazonaws.com",
        "backup.amazonaws.com",
        "elasticfilesystem.amazonaws.com",
        "elasticloadbalancing.amazonaws.com",
        "rds.amazonaws.com",
        "wafv2.amazonaws.com",
      ]
    }
  }
}

data "aws_iam_policy_document" "apply" {
  for_each = local.state_keys

  statement {
    sid       = "FindState"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.state.arn]
  }

  statement {
    sid       = "State"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${aws_s3_bucket.state.arn}/${each.value}"]
  }

  statement {
    sid       = "StateLock"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    resources = ["${aws_s3_bucket.state.arn}/${each.value}.tflock"]
  }

  statement {
    sid       = "StateKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.state.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${var.region}.amazonaws.com"]
    }
  }

  statement {
    sid       = "Buckets"
    resources = ["${local.arn}:s3:::hello-birthday-${each.key}-*"]
    actions = [
      "s3:CreateBucket",
      "s3:DeleteBucket",
      "s3:DeleteBucketPolicy",
      "s3:PutBucket*",
      "s3:PutEncryptionConfiguration",
      "s3:PutLifecycleConfiguration",
    ]
  }

  statement {
    sid       = "NewKeys"
    actions   = ["kms:CreateKey", "kms:TagResource"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid       = "Keys"
    resources = ["${local.arn}:kms:*:${local.account}:key/*"]
    actions = [
      "kms:CreateAlias",
      "kms:DeleteAlias",
      "kms:EnableKeyRotation",
      "kms:PutKeyPolicy",
      "kms:ScheduleKeyDeletion",
      "kms:TagResource",
      "kms:UntagResource",
      "kms:UpdateAlias",
      "kms:UpdateKeyDescription",
      # For what encrypts with them: EFS, RDS, the backup vaults.
      "kms:CreateGrant",
      "kms:Decrypt",
      "kms:GenerateDataKey*",
      "kms:RetireGrant",
    ]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid       = "KeyNames"
    actions   = ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"]
    resources = ["${local.arn}:kms:*:${local.account}:alias/hello-birthday-${each.key}*"]
  }

  statement {
    sid       = "Topics"
    actions   = ["sns:CreateTopic", "sns:DeleteTopic", "sns:SetTopicAttributes", "sns:Subscribe", "sns:TagResource", "sns:Unsubscribe", "sns:UntagResource"]
    resources = ["${local.arn}:sns:*:${local.account}:hello-birthday-${each.key}*"]
  }

  statement {
    sid       = "Rules"
    actions   = ["events:DeleteRule", "events:PutRule", "events:PutTargets", "events:RemoveTargets", "events:TagResource", "events:UntagResource"]
    resources = ["${local.arn}:events:*:${local.account}:rule/hello-birthday-${each.key}*"]
  }

  # Roles of a stack may do no more than the boundary allows, whatever is written in them:
  # a role that creates roles could otherwise create one that may do anything.
  statement {
    sid       = "BoundedRoles"
    resources = ["${local.iam}:role/hello-birthday-${each.key}*"]
    actions = [
      "iam:AttachRolePolicy",
      "iam:CreateRole",
      "iam:DetachRolePolicy",
      "iam:DeleteRolePolicy",
      "iam:PutRolePermissionsBoundary",
      "iam:PutRolePolicy",
    ]

    condition {
      test     = "StringEquals"
      variable = "iam:PermissionsBoundary"
      values   = [aws_iam_policy.boundary.arn]
    }
  }

  statement {
    sid       = "Roles"
    resources = [for kind in ["instance-profile", "role"] : "${local.iam}:${kind}/hello-birthday-${each.key}*"]
    actions = [
      "iam:AddRoleToInstanceProfile",
      "iam:CreateInstanceProfile",
      "iam:DeleteInstanceProfile",
      "iam:DeleteRole",
      "iam:RemoveRoleFromInstanceProfile",
      "iam:TagInstanceProfile",
      "iam:TagRole",
      "iam:UntagInstanceProfile",
      "iam:UntagRole",
      "iam:UpdateAssumeRolePolicy",
      "iam:UpdateRole",
      "iam:UpdateRoleDescription",
    ]
  }

  statement {
    sid       = "RolesForServices"
    actions   = ["iam:PassRole"]
    resources = ["${local.iam}:role/hello-birthday-${each.key}*"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values = [
        "backup.amazonaws.com",
        "ec2.amazonaws.com",
        "monitoring.rds.amazonaws.com",
        "vpc-flow-logs.amazonaws.com",
      ]
    }
  }

  # What carries the name of another environment is another stack's.
  statement {
    sid       = "NoOtherStack"
    effect    = "Deny"
    actions   = ["*"]
    resources = ["*"]

    condition {
      test     = "StringNotEquals"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }

    condition {
      test     = "Null"
      variable = "aws:ResourceTag/Environment"
      values   = ["false"]
    }
  }
}
