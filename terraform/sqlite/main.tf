# A file system for the SQLite file, which all instances mount.

locals {
  # The user hello-birthday of every image: EFS knows people by number.
  uid = 590
  gid = 590
}

resource "aws_efs_file_system" "this" {
  #checkov:skip=CKV2_AWS_18: The stack's backup plan has it, by the ARN that this module gives.
  # Of file systems with one token there can only be one, so this one is never replaced
  # by an empty one.
  creation_token = var.name
  encrypted      = true
  kms_key_id     = var.kms_key_arn
  # The throughput follows the load, and there is no credit to run out of. Nothing is
  # moved to colder storage, where a read would take longer.
  performance_mode = "generalPurpose"
  throughput_mode  = "elastic"

  tags = { Name = var.name }

  lifecycle {
    # With another name, the stack would get an empty one.
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

# AWS Backup restores into a new folder beside /birthdays. This is how it is read.
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

# A policy replaces EFS's own, which admits every client that reaches a mount target.
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
      # What people's own permissions allow is refused here.
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

# What RDS has and EFS has not: it refuses to be deleted while it is protected, and
# leaves a last backup when it is. It depends on all that is needed to read the files,
# so it goes first.
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
    # Terraform then updates the users of the file system before it deletes it, and
    # not after.
    create_before_destroy = true
  }

  depends_on = [
    aws_efs_access_point.restored,
    aws_efs_access_point.this,
    aws_efs_file_system_policy.this,
    aws_efs_mount_target.this,
  ]
}
