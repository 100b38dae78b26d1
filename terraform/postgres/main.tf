# Aurora PostgreSQL: one writer and any number of readers, which share one storage over
# three zones. A reader takes over when the writer fails.

resource "aws_db_subnet_group" "this" {
  name        = var.name
  description = "Subnets of the database of ${var.name}."
  subnet_ids  = var.subnet_ids
}

data "aws_subnet" "this" {
  count = length(var.subnet_ids)

  id = var.subnet_ids[count.index]
}

# One for each major version: an upgrade needs a group of the new family beside the old one.
resource "aws_rds_cluster_parameter_group" "this" {
  name        = "${var.name}-postgres${var.major_version}"
  family      = "aurora-postgresql${var.major_version}"
  description = "TLS for all connections, and no personal data in the logs."

  parameter {
    name  = "rds.force_ssl"
    value = "1"
    # Where 1 is the default already, which it is from version 17 on, AWS reports this method.
    apply_method = "pending-reboot"
  }

  dynamic "parameter" {
    for_each = {
      # The values of statements, and statements that failed, are personal data.
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

# Aurora would create it without a retention period.
resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_338: The operator chooses how long logs are kept.
  name              = "/aws/rds/cluster/${var.name}/postgresql"
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
  name               = "${var.name}-${var.region}-database-monitoring"
  description        = "Lets RDS send metrics of the database's hosts to CloudWatch."
  assume_role_policy = data.aws_iam_policy_document.monitoring.json

  permissions_boundary = var.permissions_boundary
}

resource "aws_iam_role_policy_attachment" "monitoring" {
  role       = aws_iam_role.monitoring.name
  policy_arn = "arn:${data.aws_partition.this.partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

# Its id tells the final snapshots of successive clusters of one name apart.
resource "terraform_data" "final_snapshot" {}

resource "aws_rds_cluster" "this" {
  #checkov:skip=CKV_AWS_327: With AWS's own key the final snapshot stays readable when the stack is gone, and its key with it.
  #checkov:skip=CKV2_AWS_8: The backup plan selects it by its ARN.
  #checkov:skip=CKV2_AWS_27: Logged statements would hold usernames and dates of birth.
  # Only one cluster can have this name, so an empty one never replaces it.
  cluster_identifier = var.name
  engine             = "aurora-postgresql"
  engine_mode        = "provisioned"
  # AWS chooses the minor version, and keeps it up to date.
  engine_version = var.major_version

  serverlessv2_scaling_configuration {
    min_capacity = var.min_capacity
    max_capacity = var.max_capacity
  }

  database_name = "hello"
  # Makes the service's roles and is otherwise unused. RDS rotates its password.
  master_username                     = "hello_admin"
  manage_master_user_password         = true
  master_user_secret_kms_key_id       = var.kms_key_arn
  iam_database_authentication_enabled = true
  # The Data API, by which the roles are made without a way into the network.
  enable_http_endpoint = true

  # With AWS's own key: the final snapshot has to be readable when the stack is gone, and
  # its key with it.
  storage_encrypted = true

  db_subnet_group_name            = aws_db_subnet_group.this.name
  vpc_security_group_ids          = [var.security_group_id]
  db_cluster_parameter_group_name = aws_rds_cluster_parameter_group.this.name

  # To go back to any second of the last days; nightly backups are AWS Backup's.
  backup_retention_period   = 7
  preferred_backup_window   = "00:00-01:00"
  copy_tags_to_snapshot     = true
  delete_automated_backups  = false
  final_snapshot_identifier = "${var.name}-final-${terraform_data.final_snapshot.id}"
  deletion_protection       = var.deletion_protection

  # Both windows are in UTC, and an hour away from the time of AWS Backup, which would
  # otherwise fail.
  preferred_maintenance_window = "tue:06:00-tue:07:00"
  allow_major_version_upgrade  = var.allow_major_version_upgrade
  apply_immediately            = var.apply_immediately

  enabled_cloudwatch_logs_exports = ["postgresql"]

  # Seven days of Database Insights' standard mode cost nothing.
  database_insights_mode                = "standard"
  performance_insights_enabled          = true
  performance_insights_kms_key_id       = var.kms_key_arn
  performance_insights_retention_period = 7

  tags = { Name = var.name }

  lifecycle {
    # Makes Terraform change what uses the database before it deletes it, not afterwards.
    create_before_destroy = true
  }

  depends_on = [aws_cloudwatch_log_group.this]
}

resource "aws_rds_cluster_instance" "this" {
  count = 1 + var.readers

  identifier         = "${var.name}-${count.index + 1}"
  cluster_identifier = aws_rds_cluster.this.id
  engine             = aws_rds_cluster.this.engine
  instance_class     = "db.serverless"
  # Aurora itself might put a reader beside the writer.
  availability_zone = data.aws_subnet.this[count.index % length(var.subnet_ids)].availability_zone

  # Aurora promotes the lowest tier. Readers of tiers 0 and 1 keep the writer's capacity, ready
  # to take over; one of them is enough
  # (https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.how-it-works.html).
  promotion_tier = min(count.index, 2)

  db_subnet_group_name = aws_db_subnet_group.this.name
  publicly_accessible  = false

  preferred_maintenance_window = aws_rds_cluster.this.preferred_maintenance_window
  auto_minor_version_upgrade   = true
  apply_immediately            = var.apply_immediately
  copy_tags_to_snapshot        = true

  performance_insights_enabled          = true
  performance_insights_kms_key_id       = var.kms_key_arn
  performance_insights_retention_period = 7
  monitoring_interval                   = 60
  monitoring_role_arn                   = aws_iam_role.monitoring.arn

  tags = { Name = "${var.name}-${count.index + 1}" }

  lifecycle {
    create_before_destroy = true
    # Instances that exist are not moved when subnets come or go.
    ignore_changes = [availability_zone]
  }

  depends_on = [aws_iam_role_policy_attachment.monitoring]
}

# The roles that the service signs in as. A new cluster has none, and neither has one that
# was restored under this name.
resource "terraform_data" "roles" {
  triggers_replace = [aws_rds_cluster.this.cluster_resource_id, filesha256("${path.module}/roles.sql")]

  provisioner "local-exec" {
    command = join(" ", [
      "${path.module}/make-roles",
      "--region ${var.region}",
      "--cluster ${aws_rds_cluster.this.arn}",
      "--secret ${aws_rds_cluster.this.master_user_secret[0].secret_arn}",
      "--database ${aws_rds_cluster.this.database_name}",
    ])
  }

  depends_on = [aws_rds_cluster_instance.this]
}

# AWS keeps a protected cluster, and lets all of its instances be deleted.
resource "terraform_data" "protection" {
  input = var.deletion_protection

  provisioner "local-exec" {
    when    = destroy
    command = "if ${self.input}; then echo 'the database is protected: apply deletion_protection = false before you delete it' >&2; exit 1; fi"
  }

  depends_on = [aws_rds_cluster_instance.this]
}
