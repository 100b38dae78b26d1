# A Postgres server with a standby in another zone, and a replica to read from on demand.

locals {
  # The version that the service's tests run on.
  version = "15"

  identifiers = concat([var.name], var.read_replica ? ["${var.name}-replica"] : [])
}

resource "aws_db_subnet_group" "this" {
  name        = var.name
  description = "Of the database of ${var.name}."
  subnet_ids  = var.subnet_ids
}

resource "aws_db_parameter_group" "this" {
  name        = "${var.name}-postgres${local.version}"
  family      = "postgres${local.version}"
  description = "TLS for everybody, and nobody's name or birthday in the logs."

  parameter {
    name  = "rds.force_ssl"
    value = "1"
    # It is so already in this version, which AWS reports as waiting for a restart.
    apply_method = "pending-reboot"
  }

  dynamic "parameter" {
    for_each = {
      # What is sent in a statement, and statements that failed, are personal data.
      log_statement                     = "none"
      log_min_duration_statement        = "-1"
      log_min_error_statement           = "panic"
      log_parameter_max_length          = "0"
      log_parameter_max_length_on_error = "0"
      # "Key (username)=(…) already exists" is a detail of an error.
      log_error_verbosity = "terse"
    }

    content {
      name  = parameter.key
      value = parameter.value
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

# RDS would create them without a retention period.
resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_338: The operator chooses how long logs are kept.
  for_each = { for pair in setproduct(local.identifiers, ["postgresql", "upgrade"]) : join("/", pair) => pair }

  name              = "/aws/rds/instance/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

data "aws_iam_policy_document" "monitoring" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["monitoring.rds.amazonaws.com"]
    }
  }
}

data "aws_partition" "this" {}

resource "aws_iam_role" "monitoring" {
  name               = "${var.name}-database-monitoring"
  description        = "Lets RDS send figures of the database's hosts to CloudWatch."
  assume_role_policy = data.aws_iam_policy_document.monitoring.json

  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy_attachment" "monitoring" {
  role       = aws_iam_role.monitoring.name
  policy_arn = "arn:${data.aws_partition.this.partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

# RDS manages no password of an instance that has a replica
# (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html). It is
# then created here, and again whenever the version of the secret is replaced.

data "aws_secretsmanager_random_password" "this" {
  count = var.read_replica ? 1 : 0

  password_length     = 32
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57: What rotates it by itself would be a function in this network, with the right to change the password.
  count = var.read_replica ? 1 : 0

  name_prefix = "${var.name}-database-"
  description = "User and password of the database of ${var.name}."
  kms_key_id  = var.kms_key_arn
}

resource "aws_secretsmanager_secret_version" "this" {
  count = var.read_replica ? 1 : 0

  secret_id     = aws_secretsmanager_secret.this[0].id
  secret_string = jsonencode({ username = "hello", password = data.aws_secretsmanager_random_password.this[0].random_password })

  lifecycle {
    # There is another one at each look.
    ignore_changes = [secret_string]
  }
}

locals {
  passwords = [for version in aws_secretsmanager_secret_version.this : jsondecode(version.secret_string).password]
}

# Its id, made up with the instance, tells last snapshots of one name apart.
resource "terraform_data" "final_snapshot" {}

resource "aws_db_instance" "this" {
  #checkov:skip=CKV_AWS_161: The service signs in with a password, which RDS rotates.
  #checkov:skip=CKV2_AWS_30: Logged statements would hold names and dates of birth.
  #checkov:skip=CKV2_AWS_69: The parameter group has rds.force_ssl, where checkov does not see it.
  # There can only be one of this name, so this one is never replaced by an empty one.
  identifier     = var.name
  engine         = "postgres"
  engine_version = local.version
  instance_class = var.instance_class
  multi_az       = true

  db_name = "hello"
  # The service is this user, for RDS rotates no other's password.
  username                      = "hello"
  manage_master_user_password   = var.read_replica ? null : true
  master_user_secret_kms_key_id = var.read_replica ? null : var.kms_key_arn
  password                      = one(local.passwords)

  allocated_storage     = var.storage_gib
  max_allocated_storage = var.storage_gib * 5
  storage_type          = "gp3"
  # With AWS's own key: the final snapshot has to be readable when the stack is gone, and
  # its key with it.
  storage_encrypted = true

  db_subnet_group_name   = aws_db_subnet_group.this.name
  vpc_security_group_ids = [var.security_group_id]
  publicly_accessible    = false
  ca_cert_identifier     = "rds-ca-rsa2048-g1"
  parameter_group_name   = aws_db_parameter_group.this.name

  # To go back to any second of the last days; nightly backups are AWS Backup's.
  backup_retention_period   = 7
  backup_window             = "00:00-01:00"
  copy_tags_to_snapshot     = true
  delete_automated_backups  = false
  final_snapshot_identifier = "${var.name}-final-${terraform_data.final_snapshot.id}"
  deletion_protection       = var.deletion_protection

  # Both windows are in UTC, and an hour away from the time of AWS Backup, which would
  # else fail. An upgrade fails over to the standby.
  maintenance_window         = "tue:06:00-tue:07:00"
  auto_minor_version_upgrade = true
  apply_immediately          = false

  enabled_cloudwatch_logs_exports = ["postgresql", "upgrade"]
  performance_insights_enabled    = true
  performance_insights_kms_key_id = var.kms_key_arn
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.monitoring.arn

  tags = { Name = var.name }

  lifecycle {
    # Terraform then updates the users of the database before it deletes it, and not
    # after.
    create_before_destroy = true
  }

  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy_attachment.monitoring]
}

resource "aws_db_instance" "replica" {
  #checkov:skip=CKV_AWS_293: It can be given up at any time, as all that it holds is in the other.
  #checkov:skip=CKV_AWS_157: Where it fails, users are found in the other instance.
  #checkov:skip=CKV_AWS_161: The service signs in with a password, which RDS rotates.
  #checkov:skip=CKV2_AWS_30: Logged statements would hold names and dates of birth.
  #checkov:skip=CKV2_AWS_69: The parameter group has rds.force_ssl, where checkov does not see it.
  count = var.read_replica ? 1 : 0

  identifier          = "${var.name}-replica"
  replicate_source_db = aws_db_instance.this.identifier
  instance_class      = var.instance_class

  max_allocated_storage = var.storage_gib * 5
  storage_type          = "gp3"
  storage_encrypted     = true

  vpc_security_group_ids = [var.security_group_id]
  publicly_accessible    = false
  ca_cert_identifier     = "rds-ca-rsa2048-g1"
  parameter_group_name   = aws_db_parameter_group.this.name

  # All that it holds is in the other.
  skip_final_snapshot   = true
  copy_tags_to_snapshot = true

  maintenance_window         = aws_db_instance.this.maintenance_window
  auto_minor_version_upgrade = true
  apply_immediately          = false

  enabled_cloudwatch_logs_exports = ["postgresql", "upgrade"]
  performance_insights_enabled    = true
  performance_insights_kms_key_id = var.kms_key_arn
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.monitoring.arn

  tags = { Name = "${var.name}-replica" }

  lifecycle {
    create_before_destroy = true
  }
}
