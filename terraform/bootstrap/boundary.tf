# The most that any role of a stack may do, whatever its policies say: what the roles of that
# stack need, and nothing of another stack. It gives nothing by itself.

resource "aws_iam_policy" "boundary" {
  for_each = var.environments

  name        = "hello-birthday-boundary-${each.key}"
  path        = "/terraform/"
  description = "The most that a role of the stack ${each.key} may do"
  policy      = data.aws_iam_policy_document.boundary[each.key].json
}

data "aws_iam_policy_document" "boundary" {
  #checkov:skip=CKV_AWS_111: Sessions of Session Manager have no resource that a policy could name.
  #checkov:skip=CKV_AWS_356: Sessions of Session Manager have no resource that a policy could name, and neither have lists.
  for_each = local.stacks

  # The agent of Session Manager, and lists and descriptions for AWS Backup and flow logs.
  statement {
    sid       = "Sessions"
    resources = ["*"]
    actions = [
      "elasticfilesystem:Describe*",
      "logs:DescribeLogGroups",
      "rds:Describe*",
      "rds:ListTagsForResource",
      "ssm:UpdateInstanceInformation",
      "ssmmessages:CreateControlChannel",
      "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel",
      "ssmmessages:OpenDataChannel",
      "tag:GetResources",
    ]
  }

  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    resources = ["${local.arn}:logs:*:${local.account}:log-group:/${each.value}/*"]
  }

  # Enhanced monitoring, which has one log group for all databases of an account. As in
  # AWS's own AmazonRDSEnhancedMonitoringRole.
  statement {
    sid       = "DatabaseHosts"
    actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:GetLogEvents", "logs:PutLogEvents", "logs:PutRetentionPolicy"]
    resources = ["${local.arn}:logs:*:${local.account}:log-group:RDSOSMetrics", "${local.arn}:logs:*:${local.account}:log-group:RDSOSMetrics:*"]
  }

  statement {
    sid       = "Metrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = [each.value]
    }
  }

  statement {
    sid       = "Parameters"
    actions   = ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"]
    resources = ["${local.arn}:ssm:*:${local.account}:parameter/hello-birthday/${each.key}/*"]
  }

  statement {
    sid       = "Keys"
    actions   = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
    resources = ["${local.arn}:kms:*:${local.account}:key/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }
  }

  # AWS's own keys of the vault of last backups and of the cluster: they work only through
  # these services, whose rules are below.
  statement {
    sid       = "KeysOfAws"
    actions   = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
    resources = ["${local.arn}:kms:*:${local.account}:key/*"]

    condition {
      test     = "ForAnyValue:StringEquals"
      variable = "kms:ResourceAliases"
      values   = ["alias/aws/backup", "alias/aws/rds"]
    }
  }

  # A cluster's id is in the ARN rather than its name, and not known before it is made. The
  # tag is the cluster's
  # (https://docs.aws.amazon.com/service-authorization/latest/reference/list_rds-db.html).
  statement {
    sid       = "SignInToDatabase"
    actions   = ["rds-db:connect"]
    resources = [for user in ["hello", "hello_owner"] : "${local.arn}:rds-db:*:${local.account}:dbuser:*/${user}"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }
  }

  # EFS's guide names no tags among the condition keys of clients, though its reference does:
  # a client must be able to mount either way. The policy of a stack's file system admits its
  # own instances alone.
  # https://docs.aws.amazon.com/efs/latest/ug/iam-access-control-nfs-efs.html
  statement {
    sid       = "Files"
    actions   = ["elasticfilesystem:Backup", "elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite", "elasticfilesystem:Restore"]
    resources = ["${local.arn}:elasticfilesystem:*:${local.account}:file-system/*"]

    condition {
      test     = "StringEqualsIfExists"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid       = "Vaults"
    actions   = ["backup:CopyIntoBackupVault", "backup:DescribeBackupVault"]
    resources = [for name in [each.value, "hello-birthday-last-backups"] : "${local.arn}:backup:*:${local.account}:backup-vault:${name}"]
  }

  # Backups get the tags of what they are of, some of them only when they are complete; one
  # with another environment's tag is out of reach.
  statement {
    sid       = "CopyBackups"
    actions   = ["backup:CopyFromBackupVault"]
    resources = ["*"]

    condition {
      test     = "StringEqualsIfExists"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid     = "NewBackups"
    actions = ["backup:TagResource", "rds:AddTagsToResource", "rds:CopyDBClusterSnapshot", "rds:CreateDBClusterSnapshot"]
    resources = [
      "${local.arn}:backup:*:${local.account}:recovery-point:*",
      "${local.arn}:rds:*:${local.account}:cluster-snapshot:awsbackup:*",
    ]

    condition {
      test     = "StringEqualsIfExists"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }

    condition {
      test     = "StringEqualsIfExists"
      variable = "aws:RequestTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid       = "BackUpCluster"
    actions   = ["rds:CreateDBClusterSnapshot"]
    resources = [local.clusters[each.key]]
  }

  statement {
    sid       = "OldBackups"
    actions   = ["rds:DeleteDBClusterSnapshot", "rds:RestoreDBClusterFromSnapshot"]
    resources = ["${local.arn}:rds:*:${local.account}:cluster-snapshot:awsbackup:*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid     = "RestoreCluster"
    actions = ["rds:AddTagsToResource", "rds:RestoreDBClusterFromSnapshot"]
    resources = [for name in concat(
      [for kind in ["cluster", "cluster-pg", "subgrp"] : "${kind}:${each.value}-*"],
      ["cluster:restore-${each.value}", "subgrp:${each.value}", "og:default:*", "cluster-pg:default.*"],
    ) : "${local.arn}:rds:*:${local.account}:${name}"]
  }
}
