# Alarms of the databases and their backups. Clients' view of a database, store-errors and
# store-rejections, is in alarms.tf.

locals {
  aurora = length(module.postgres) > 0
  # Lag matters where the service reads from a reader.
  aurora_reads_lag = local.aurora && var.postgres.readers > 0 && var.postgres.read_from_readers

  # What Aurora sets max_connections to, by its maximum capacity: 189 with one unit, 823 with
  # four, 1,669 with eight; no more than 2,000 where the minimum is half a unit.
  # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.setting-capacity.html
  aurora_connections_max = min(
    211.4 * var.postgres.max_capacity - 22,
    var.postgres.min_capacity < 1 ? 2000 : 5000,
  )
}

resource "aws_cloudwatch_metric_alarm" "efs_io" {
  count = length(module.sqlite)

  alarm_name        = "${local.name}-efs-io"
  alarm_description = "The file system is close to the most operations that EFS serves, and SQLite will wait for it. Move to Postgres, as the README of terraform/ describes."

  namespace   = "AWS/EFS"
  metric_name = "PercentIOLimit"
  dimensions  = { FileSystemId = module.sqlite[count.index].file_system_id }
  statistic   = "Average"
  period      = 300

  comparison_operator = "GreaterThanThreshold"
  threshold           = 80
  evaluation_periods  = 3
  datapoints_to_alarm = 3
  # A file system that is not used is not measured.
  treat_missing_data = "notBreaching"

  alarm_actions = local.routine
}

# Aurora Serverless grows with the load: its processors and memory are scarce only once it is
# at its maximum, so that there is one alarm for both.
resource "aws_cloudwatch_metric_alarm" "aurora_capacity" {
  count = length(module.postgres)

  alarm_name        = "${local.name}-aurora-capacity"
  alarm_description = "An instance of Aurora has been at its maximum capacity for 15 minutes and can grow no more. Raise postgres.max_capacity; CloudWatch Database Insights shows what keeps it busy."

  namespace   = "AWS/RDS"
  metric_name = "ACUUtilization"
  dimensions  = { DBClusterIdentifier = module.postgres[count.index].cluster_identifier }
  # The busiest instance, a reader too.
  statistic = "Maximum"
  period    = 300

  comparison_operator = "GreaterThanThreshold"
  threshold           = 95
  evaluation_periods  = 3
  datapoints_to_alarm = 3
  treat_missing_data  = "ignore"

  alarm_actions = local.routine
}

# What would be free at the maximum capacity: near zero only there.
resource "aws_cloudwatch_metric_alarm" "aurora_memory" {
  count = length(module.postgres)

  alarm_name        = "${local.name}-aurora-memory"
  alarm_description = "Aurora is at its maximum capacity and has almost no memory left; it may restart. Raise postgres.max_capacity with postgres.apply_immediately = true."

  namespace   = "AWS/RDS"
  metric_name = "FreeableMemory"
  dimensions  = { DBClusterIdentifier = module.postgres[count.index].cluster_identifier }
  statistic   = "Minimum"
  period      = 300

  comparison_operator = "LessThanThreshold"
  # A twentieth; a unit of capacity has 2 GiB.
  threshold           = var.postgres.max_capacity * 2 * pow(1024, 3) / 20
  evaluation_periods  = 3
  datapoints_to_alarm = 3
  treat_missing_data  = "ignore"

  alarm_actions = local.urgent
  ok_actions    = local.urgent
}

resource "aws_cloudwatch_metric_alarm" "aurora_connections" {
  count = length(module.postgres)

  alarm_name        = "${local.name}-aurora-connections"
  alarm_description = "Aurora has 80 % of the connections that it accepts. Each instance of the service makes four at most: find out in CloudWatch Database Insights whose the others are, or raise postgres.max_capacity."

  namespace   = "AWS/RDS"
  metric_name = "DatabaseConnections"
  dimensions  = { DBClusterIdentifier = module.postgres[count.index].cluster_identifier }
  statistic   = "Maximum"
  period      = 300

  comparison_operator = "GreaterThanThreshold"
  threshold           = floor(0.8 * local.aurora_connections_max)
  evaluation_periods  = 2
  datapoints_to_alarm = 2
  treat_missing_data  = "ignore"

  alarm_actions = local.routine
}

resource "aws_cloudwatch_metric_alarm" "aurora_reader_lag" {
  count = local.aurora_reads_lag ? 1 : 0

  alarm_name        = "${local.name}-aurora-reader-lag"
  alarm_description = "A reader has lagged behind by more than 5 s for five minutes, so people are greeted by dates that they have changed since. See on the dashboard whether it is busy; postgres.read_from_readers = false reads from the writer."

  namespace   = "AWS/RDS"
  metric_name = "AuroraReplicaLagMaximum"
  dimensions  = { DBClusterIdentifier = module.postgres[0].cluster_identifier }
  statistic   = "Maximum"
  period      = 60

  comparison_operator = "GreaterThanThreshold"
  # In milliseconds; a reader is usually less than 100 behind.
  threshold           = 5000
  evaluation_periods  = 5
  datapoints_to_alarm = 5
  treat_missing_data  = "ignore"

  alarm_actions = local.routine
}

resource "aws_cloudwatch_metric_alarm" "backup_missing" {
  alarm_name        = "${local.name}-backup-missing"
  alarm_description = "No backup has been completed for 30 hours, though one is made every night. Look at the jobs of the plan ${local.name} in AWS Backup, and start one by hand."

  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  # One a day, of which one may take six hours longer than the one before it.
  evaluation_periods  = 30
  datapoints_to_alarm = 30
  treat_missing_data  = "notBreaching"

  # An hour before the stack was there is an hour without instances.
  metric_query {
    id          = "missing"
    label       = "hours without a backup"
    expression  = "IF(FILL(in_service, 0) > 0 AND FILL(completed, 0) < 1, 1, 0)"
    return_data = true
  }

  metric_query {
    id = "in_service"

    metric {
      namespace   = "AWS/AutoScaling"
      metric_name = "GroupInServiceInstances"
      dimensions  = { AutoScalingGroupName = aws_autoscaling_group.this.name }
      stat        = "Maximum"
      period      = 3600
    }
  }

  metric_query {
    id = "completed"

    metric {
      namespace   = "AWS/Backup"
      metric_name = "NumberOfBackupJobsCompleted"
      dimensions  = { BackupVaultName = aws_backup_vault.this.name }
      stat        = "Sum"
      period      = 3600
    }
  }

  alarm_actions = local.routine
}
