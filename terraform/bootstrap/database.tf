# What an apply changes of databases, file systems, backups and keys. It deletes no backup
# and restores none.

locals {
  # The ARN of a stack's cluster, which RDS puts on the secret of its master user as a tag.
  clusters = { for environment, name in local.stacks : environment => "${local.arn}:rds:*:${local.account}:cluster:${name}" }
}

data "aws_iam_policy_document" "database" {
  #checkov:skip=CKV_AWS_111: A file system and a key have no ARN before they are made; the tag is required.
  #checkov:skip=CKV_AWS_356: A file system and a key have no ARN before they are made; the tag is required.
  for_each = local.stacks

  statement {
    sid = "Databases"
    resources = concat(
      [for pair in setproduct(["cluster", "cluster-pg", "db", "pg", "subgrp"], local.names[each.key]) : "${local.arn}:rds:*:${local.account}:${join(":", pair)}"],
      # Clusters and instances name AWS's defaults, which nobody can change.
      [for default in ["og:default:*", "pg:default.*"] : "${local.arn}:rds:*:${local.account}:${default}"],
    )
    actions = [
      "rds:AddTagsToResource",
      "rds:CreateDBCluster",
      "rds:CreateDBClusterParameterGroup",
      "rds:CreateDBInstance",
      "rds:CreateDBParameterGroup",
      "rds:CreateDBSubnetGroup",
      "rds:DeleteDBCluster",
      "rds:DeleteDBClusterParameterGroup",
      "rds:DeleteDBInstance",
      "rds:DeleteDBParameterGroup",
      "rds:DeleteDBSubnetGroup",
      "rds:DisableHttpEndpoint",
      "rds:EnableHttpEndpoint",
      "rds:FailoverDBCluster",
      "rds:ModifyDBCluster",
      "rds:ModifyDBClusterParameterGroup",
      "rds:ModifyDBInstance",
      "rds:ModifyDBParameterGroup",
      "rds:ModifyDBSubnetGroup",
      "rds:RebootDB*",
      "rds:RemoveTagsFromResource",
      "rds:ResetDB*ParameterGroup",
    ]
  }

  # Deleting a cluster leaves a final snapshot.
  statement {
    sid       = "FinalSnapshots"
    actions   = ["rds:AddTagsToResource", "rds:CreateDBClusterSnapshot", "rds:DeleteDBCluster"]
    resources = ["${local.arn}:rds:*:${local.account}:cluster-snapshot:${each.value}-final-*"]
  }

  # RDS makes the secret of the master user in the name of its caller, and gives it this tag
  # (https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-secrets-manager.html).
  statement {
    sid       = "NewMasterSecret"
    actions   = ["secretsmanager:CreateSecret", "secretsmanager:TagResource"]
    resources = ["${local.arn}:secretsmanager:*:${local.account}:secret:rds!cluster-*"]

    condition {
      test     = "ArnLikeIfExists"
      variable = "aws:ResourceTag/aws:rds:primaryDBClusterArn"
      values   = [local.clusters[each.key]]
    }
  }

  # The Data API, by which the service's roles are made in the database, signs in with it.
  statement {
    sid       = "MasterSecret"
    actions   = ["secretsmanager:GetSecretValue", "secretsmanager:RotateSecret"]
    resources = ["${local.arn}:secretsmanager:*:${local.account}:secret:rds!cluster-*"]

    condition {
      test     = "ArnLike"
      variable = "aws:ResourceTag/aws:rds:primaryDBClusterArn"
      values   = [local.clusters[each.key]]
    }
  }

  statement {
    sid       = "DataApi"
    actions   = ["rds-data:BatchExecuteStatement", "rds-data:BeginTransaction", "rds-data:CommitTransaction", "rds-data:ExecuteStatement", "rds-data:RollbackTransaction"]
    resources = [local.clusters[each.key]]
  }

  statement {
    sid       = "NewFileSystemsAndKeys"
    actions   = ["elasticfilesystem:CreateFileSystem", "kms:CreateKey"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid       = "TagNewFileSystems"
    actions   = ["elasticfilesystem:TagResource"]
    resources = [for kind in ["access-point", "file-system"] : "${local.arn}:elasticfilesystem:*:${local.account}:${kind}/*"]

    condition {
      test     = "StringEquals"
      variable = "elasticfilesystem:CreateAction"
      values   = ["CreateAccessPoint", "CreateFileSystem"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Environment"
      values   = [each.key]
    }
  }

  # Neither KMS nor AWS Backup distinguishes tags on creation from later ones, so what has no tag may
  # be given one; what has another environment's may not.
  statement {
    sid       = "TagNewKeysAndPlans"
    actions   = ["backup:CreateBackupPlan", "backup:TagResource", "kms:TagResource"]
    resources = ["${local.arn}:backup:*:${local.account}:backup-plan:*", "${local.arn}:kms:*:${local.account}:key/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Environment"
      values   = [each.key]
    }

    condition {
      test     = "StringEqualsIfExists"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }
  }

  # A key with another alias is not new: it could otherwise be taken by giving it the tag.
  statement {
    sid       = "NoOtherKey"
    effect    = "Deny"
    actions   = ["kms:*Tag*"]
    resources = ["*"]

    condition {
      test     = "ForAnyValue:StringNotLike"
      variable = "kms:ResourceAliases"
      values   = [for name in local.names[each.key] : "alias/${name}"]
    }
  }

  statement {
    sid = "ChangeOwn"
    resources = [for kind in ["backup:*:${local.account}:backup-plan:", "elasticfilesystem:*:${local.account}:access-point/", "elasticfilesystem:*:${local.account}:file-system/", "kms:*:${local.account}:key/"] :
      "${local.arn}:${kind}*"
    ]
    actions = [
      "backup:CreateBackupSelection",
      "backup:DeleteBackupPlan",
      "backup:DeleteBackupSelection",
      "backup:UntagResource",
      "backup:UpdateBackupPlan",
      "elasticfilesystem:CreateAccessPoint",
      "elasticfilesystem:CreateMountTarget",
      "elasticfilesystem:Delete*",
      "elasticfilesystem:ModifyMountTargetSecurityGroups",
      "elasticfilesystem:Put*",
      "elasticfilesystem:UntagResource",
      "elasticfilesystem:UpdateFileSystem*",
      # For what encrypts with them: Aurora, EFS, log groups, topics and vaults.
      "kms:CreateGrant",
      "kms:Decrypt",
      "kms:GenerateDataKey*",
      "kms:RetireGrant",
      "kms:CreateAlias",
      "kms:DeleteAlias",
      "kms:EnableKeyRotation",
      "kms:PutKeyPolicy",
      "kms:ScheduleKeyDeletion",
      "kms:UntagResource",
      "kms:UpdateAlias",
      "kms:UpdateKeyDescription",
    ]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid       = "TagOwn"
    actions   = ["elasticfilesystem:TagResource"]
    resources = [for kind in ["access-point", "file-system"] : "${local.arn}:elasticfilesystem:*:${local.account}:${kind}/*"]

    condition {
      test     = "StringEquals"
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
    sid       = "KeyNames"
    actions   = ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"]
    resources = [for name in local.names[each.key] : "${local.arn}:kms:*:${local.account}:alias/${name}"]
  }

  statement {
    sid       = "Vaults"
    resources = [for name in local.names[each.key] : "${local.arn}:backup:*:${local.account}:backup-vault:${name}"]
    actions = [
      "backup:CreateBackupVault",
      "backup:DeleteBackupVault",
      "backup:DeleteBackupVaultAccessPolicy",
      "backup:DeleteBackupVaultLockConfiguration",
      "backup:PutBackupVault*",
      "backup:TagResource",
      "backup:UntagResource",
    ]
  }

  # A file system that is deleted leaves a last backup, in a vault of the account.
  statement {
    sid       = "LastBackups"
    actions   = ["backup:CreateBackupVault", "backup:StartBackupJob"]
    resources = ["${local.arn}:backup:*:${local.account}:backup-vault:hello-birthday-last-backups"]
  }

  statement {
    sid       = "VaultStorage"
    actions   = ["backup-storage:MountCapsule"]
    resources = ["*"]
  }
}
