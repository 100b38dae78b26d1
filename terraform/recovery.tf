# Nightly backups, and a copy of each in another region. `restore` restores the users of one.

resource "aws_backup_vault" "this" {
  name        = local.name
  kms_key_arn = aws_kms_key.this.arn
  # The vault of a protected stack is not deleted while it holds backups. The last backup
  # that a deleted database leaves is elsewhere.
  force_destroy = !var.deletion_protection
}

resource "aws_backup_vault" "recovery" {
  provider = aws.recovery

  name          = local.name
  kms_key_arn   = aws_kms_key.recovery.arn
  force_destroy = !var.deletion_protection
}

# The lock can be removed for three days; then nobody can remove it, not even AWS.
resource "aws_backup_vault_lock_configuration" "recovery" {
  count    = var.backup_lock ? 1 : 0
  provider = aws.recovery

  backup_vault_name   = aws_backup_vault.recovery.name
  min_retention_days  = var.backup_retention_days
  changeable_for_days = 3

  lifecycle {
    # Nor can anybody change it. Backups may be kept longer than it requires.
    ignore_changes = [min_retention_days]
  }
}

resource "aws_backup_plan" "this" {
  name = local.name

  rule {
    rule_name         = "nightly"
    target_vault_name = aws_backup_vault.this.name
    # An hour after the instances have copied the SQLite file: AWS Backup reads files one
    # after the other, and a copy of a file being written to is inconsistent.
    schedule                     = "cron(0 3 * * ? *)"
    schedule_expression_timezone = "Etc/UTC"
    start_window                 = 60
    completion_window            = 360

    lifecycle {
      delete_after = var.backup_retention_days
    }

    copy_action {
      destination_vault_arn = aws_backup_vault.recovery.arn

      lifecycle {
        delete_after = var.backup_retention_days
      }
    }
  }
}

resource "aws_backup_selection" "this" {
  name         = local.name
  plan_id      = aws_backup_plan.this.id
  iam_role_arn = aws_iam_role.backup.arn
  resources    = concat(module.sqlite[*].file_system_arn, module.postgres[*].cluster_arn)

  depends_on = [aws_iam_role_policy_attachment.backup]
}

data "aws_iam_policy_document" "backup" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["backup.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }
  }
}

resource "aws_iam_role" "backup" {
  name               = "${local.global_name}-backup"
  description        = "Lets AWS Backup read the databases and restore them."
  assume_role_policy = data.aws_iam_policy_document.backup.json

  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy_attachment" "backup" {
  for_each = toset(["AWSBackupServiceRolePolicyForBackup", "AWSBackupServiceRolePolicyForRestores"])

  role       = aws_iam_role.backup.name
  policy_arn = "${local.arn_prefix}:iam::aws:policy/service-role/${each.value}"
}
