# The file system of the SQLite file, which all instances mount.

locals {
  # The account hello-birthday of every image; EFS knows accounts by number.
  uid = 590
  gid = 590
}

resource "aws_efs_file_system" "this" {
  #checkov:skip=CKV2_AWS_18: The stack's backup plan has it, by the ARN that this module gives.
  # Only one file system can have this token, so an empty one never replaces it.
  creation_token = var.name
  encrypted      = true
  kms_key_id     = var.kms_key_arn
  # The throughput follows the load, without credits. Nothing moves to colder storage, where
  # a read takes longer.
  performance_mode = "generalPurpose"
  throughput_mode  = "elastic"

  tags = { Name = var.name }

  lifecycle {
    # Another name would make an empty file system.
    ignore_changes = [creation_token]
  }
}

resource "aws_efs_mount_target" "this" {
  for_each = var.subnet_ids

  file_system_id  = aws_efs_file_system.this.id
  subnet_id       = each.value
  security_groups = [var.security_group_id]
}

resource "aws_efs_access_point" "this" {
  file_system_id = aws_efs_file_system.this.id

  posix_user {
    uid = local.uid
    gid = local.gid
  }

  root_directory {
    path = "/birthdays"

    creation_info {
      owner_uid   = local.uid
      owner_gid   = local.gid
      permissions = "0700"
    }
  }

  tags = { Name = var.name }
}

# AWS Backup restores into a new folder beside /birthdays, which is read through this.
resource "aws_efs_access_point" "restored" {
  #checkov:skip=CKV_AWS_329: The folder is made by AWS Backup and its name holds the time, so only the root is known before.
  file_system_id = aws_efs_file_system.this.id

  posix_user {
    uid = local.uid
    gid = local.gid
  }

  root_directory {
    path = "/"
  }

  tags = { Name = "${var.name}-restored" }
}

# Replaces EFS's default policy, which admits every client that reaches a mount target.
resource "aws_efs_file_system_policy" "this" {
  file_system_id = aws_efs_file_system.this.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "InstancesUseTheData"
        Effect    = "Allow"
        Principal = { AWS = var.instance_role_arn }
        Action    = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
        Resource  = aws_efs_file_system.this.arn
        Condition = {
          StringEquals = { "elasticfilesystem:AccessPointArn" = aws_efs_access_point.this.arn }
          Bool         = { "elasticfilesystem:AccessedViaMountTarget" = "true" }
        }
      },
      {
        Sid       = "InstancesReadWhatWasRestored"
        Effect    = "Allow"
        Principal = { AWS = var.instance_role_arn }
        Action    = "elasticfilesystem:ClientMount"
        Resource  = aws_efs_file_system.this.arn
        Condition = {
          StringEquals = { "elasticfilesystem:AccessPointArn" = aws_efs_access_point.restored.arn }
          Bool         = { "elasticfilesystem:AccessedViaMountTarget" = "true" }
        }
      },
      # Denied, because other identities' own policies may allow it.
      {
        Sid       = "NobodyElseMounts"
        Effect    = "Deny"
        Principal = { AWS = "*" }
        Action    = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite", "elasticfilesystem:ClientRootAccess"]
        Resource  = aws_efs_file_system.this.arn
        Condition = { ArnNotEquals = { "aws:PrincipalArn" = var.instance_role_arn } }
      },
      {
        Sid       = "NobodyWritesElsewhere"
        Effect    = "Deny"
        Principal = { AWS = "*" }
        Action    = ["elasticfilesystem:ClientWrite", "elasticfilesystem:ClientRootAccess"]
        Resource  = aws_efs_file_system.this.arn
        Condition = { ArnNotEquals = { "elasticfilesystem:AccessPointArn" = aws_efs_access_point.this.arn } }
      },
      {
        Sid       = "NothingGoesUnencrypted"
        Effect    = "Deny"
        Principal = { AWS = "*" }
        Action    = "*"
        Resource  = aws_efs_file_system.this.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

# Deletion protection and a last backup, which EFS lacks. It depends on everything that is
# needed to read the files, so Terraform destroys it first.
resource "terraform_data" "last_backup" {
  input = {
    deletion_protection = var.deletion_protection
    file_system_arn     = aws_efs_file_system.this.arn
    role_arn            = var.backup_role_arn
    region              = var.region
  }

  provisioner "local-exec" {
    when    = destroy
    command = "${path.module}/last-backup"

    environment = {
      DELETION_PROTECTION = self.input.deletion_protection
      FILE_SYSTEM_ARN     = self.input.file_system_arn
      ROLE_ARN            = self.input.role_arn
      AWS_DEFAULT_REGION  = self.input.region
    }
  }

  lifecycle {
    # Makes Terraform change what uses the file system before it deletes it, not afterwards.
    create_before_destroy = true
  }

  depends_on = [
    aws_efs_access_point.restored,
    aws_efs_access_point.this,
    aws_efs_file_system_policy.this,
    aws_efs_mount_target.this,
  ]
}
