# One page that answers, from top to bottom: is the service healthy, is it fast, is a release
# going well, is there room, how is the database, will it last, and what does the log say.
#
# The page is dashboard.json.tftpl, in the form that CloudWatch's console shows as a
# dashboard's source. The widgets of a database are there only if the stack has it, so that
# what follows them is placed by the number of their rows.

locals {
  alarms = {
    urgent = concat(
      [
        aws_cloudwatch_metric_alarm.http_5xx,
        aws_cloudwatch_metric_alarm.p99,
        aws_cloudwatch_metric_alarm.unhealthy,
        aws_cloudwatch_metric_alarm.none_healthy,
        aws_cloudwatch_metric_alarm.store_errors,
        aws_cloudwatch_metric_alarm.store_rejections,
      ],
      aws_cloudwatch_metric_alarm.aurora_memory,
    )

    routine = concat(
      [
        aws_cloudwatch_metric_alarm.below_desired,
        aws_cloudwatch_metric_alarm.telemetry_missing,
        aws_cloudwatch_metric_alarm.cpu,
        aws_cloudwatch_metric_alarm.memory,
        aws_cloudwatch_metric_alarm.disk,
        aws_cloudwatch_metric_alarm.backup_missing,
      ],
      aws_cloudwatch_metric_alarm.certificate,
      aws_cloudwatch_metric_alarm.efs_io,
      aws_cloudwatch_metric_alarm.aurora_capacity,
      aws_cloudwatch_metric_alarm.aurora_connections,
      aws_cloudwatch_metric_alarm.aurora_reader_lag,
    )
  }
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = local.name

  dashboard_body = templatefile("${path.module}/dashboard.json.tftpl", {
    region          = var.region
    recovery_region = var.recovery_region
    name            = local.name

    urgent_alarms  = local.alarms.urgent[*].arn
    routine_alarms = local.alarms.routine[*].arn
    # Where a graph draws the line that an alarm goes off at.
    thresholds = { for alarm in concat(local.alarms.urgent, local.alarms.routine) : trimprefix(alarm.alarm_name, "${local.name}-") => alarm.threshold }

    load_balancer         = aws_lb.this.arn_suffix
    target_group          = aws_lb_target_group.this.arn_suffix
    group                 = aws_autoscaling_group.this.name
    requests_per_instance = var.requests_per_instance
    log_group             = aws_cloudwatch_log_group.service.name
    vault                 = aws_backup_vault.this.name
    https                 = var.domain != null
    certificate           = local.certificate_arn

    sqlite      = length(module.sqlite) > 0
    file_system = one(module.sqlite[*].file_system_id)

    postgres  = local.aurora
    cluster   = one(module.postgres[*].cluster_identifier)
    reads_lag = local.aurora_reads_lag

    # The first row of the second database, and the first after all of them.
    postgres_y = 44 + 6 * length(module.sqlite)
    last_y     = 44 + 6 * length(module.sqlite) + 12 * length(module.postgres)
  })
}
