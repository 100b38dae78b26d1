# What somebody has to know. An alarm is `above` or `below` a threshold in `of[0]` of the
# last `of[1]` periods of so many `seconds`; where there is no `value` of its own, its
# only metric is compared. How it takes `missing` data depends on the metric:
#   notBreaching  there is one only when something happens, and nothing happened;
#   missing       there is always one, so its end is told of, but proves nothing;
#   breaching     that there is none is the failure;
#   ignore        there is seldom one, so the alarm stays as it is.
# One that `passes` is about an event: it ends after a while, and that tells nothing.

locals {
  gib = pow(1024, 3)

  # At most this many of the service's connections are open while the group is rolled:
  # each instance has two to read, one to write, and one to ask whether Postgres answers.
  connections_max = 4 * ceil(var.size.max * var.roll.max_healthy_percent / 100)

  alarms_wanted = {
    # The service

    "5xx" = {
      says    = "More than 1 % of requests fail. Look at the dashboard whether it is the service (its log says why) or the balancer (no healthy instance, or too slow). A roll that is under way is rolled back."
      metrics = ["target_5xx", "elb_5xx", "requests"]
      # In percent. Fewer than five failures a minute wake nobody, however few requests
      # there are; what finds no healthy instance is not among the balancer's requests.
      value   = "IF(FILL(target_5xx, 0) + FILL(elb_5xx, 0) >= 5, 100 * (FILL(target_5xx, 0) + FILL(elb_5xx, 0)) / (FILL(requests, 0) + FILL(elb_5xx, 0)), 0)"
      unit    = "%"
      above   = 1
      seconds = 60
      of      = [2, 3]
      missing = "notBreaching"
    }
    p99 = {
      says    = "One request in a hundred takes longer than ${var.latency_seconds} s. Look at the dashboard whether the database is slow or the instances are busy. A roll that is under way is rolled back."
      metrics = ["p99"]
      unit    = "s"
      above   = var.latency_seconds
      seconds = 60
      of      = [5, 5]
      missing = "notBreaching"
    }
    unhealthy = {
      says    = "An instance has not answered /readyz for three minutes. Its log says why; the group replaces it. A roll that is under way is rolled back."
      metrics = ["unhealthy"]
      unit    = "instances"
      above   = 0
      # A new instance is unhealthy until it has booted, which takes half a minute: with
      # the least of each minute it would have to take more than three.
      seconds = 60
      of      = [3, 3]
      missing = "notBreaching"
    }
    none-healthy = {
      says    = "No instance is healthy, so every request fails. Look at the group's activity history and at the log: if it is the version, put the ami_id before it back and apply with roll = { alarms = false }."
      metrics = ["reachable"]
      unit    = "instances"
      below   = 1
      seconds = 60
      of      = [2, 2]
      # A group with no instance at all reports nothing.
      missing = "breaching"
    }
    below-desired = {
      says    = "Fewer instances are in service than the group wants. Its activity history says why: AWS may have none of this type, or new ones do not become healthy."
      metrics = ["desired", "in_service"]
      value   = "desired - in_service"
      unit    = "instances"
      above   = 0
      # An instance that starts is in service within two minutes.
      seconds = 60
      of      = [10, 10]
      missing = "missing"
    }
    store-errors = {
      says    = "Batches fail in the database. The log says why. A failover of Postgres takes about a minute and ends by itself."
      metrics = ["read_errors", "write_errors"]
      value   = "FILL(read_errors, 0) + FILL(write_errors, 0)"
      unit    = "batches"
      # A batch holds up to a thousand requests. The service retries those whose connection
      # was lost, so a failure that is counted here was seen by clients.
      above   = 5
      seconds = 60
      of      = [3, 5]
      missing = "notBreaching"
    }
    store-refusals = {
      says    = "The service refuses requests because the database does not keep up. Look at the dashboard whether it is busy or slow; more instances do not help a database that is full."
      metrics = ["read_rejected", "write_rejected"]
      value   = "FILL(read_rejected, 0) + FILL(write_rejected, 0)"
      unit    = "requests"
      # One a second. A burst is refused and gone in less than three minutes.
      above   = 60
      seconds = 60
      of      = [3, 5]
      missing = "notBreaching"
    }

    # The group

    cpu = {
      says    = "The instances are busy although the group grows with the requests. It is at its most (raise size.max), or a request costs more than it did (lower requests_per_instance)."
      metrics = ["cpu"]
      unit    = "%"
      # Above this, answers wait for each other.
      above   = 80
      seconds = 300
      of      = [3, 3]
      missing = "missing"
    }
    memory = {
      says    = "An instance runs out of memory, and the kernel will end the service. Look whether it grows (a leak: roll the group to gain time) or is just too small (a larger instance_type)."
      metrics = ["memory"]
      unit    = "%"
      # The service takes less than 100 MiB, the system some hundreds: on 2 GiB that is
      # far from this.
      above   = 80
      seconds = 300
      of      = [2, 2]
      missing = "missing"
    }
    disk = {
      says    = "An instance's disk fills. Nothing but logs should be written there: look for what else is, and roll the group to gain time."
      metrics = ["disk"]
      unit    = "%"
      # Logs keep to a tenth of the disk by themselves.
      above   = 80
      seconds = 300
      of      = [2, 2]
      missing = "missing"
    }
    roll-failed = {
      says    = "A roll failed, was cancelled, or is rolled back; the old version runs on. `terraform apply`, which waited for it, said why; so does the history of the group's instance refreshes. The alarm ends by itself, after an hour."
      metrics = ["roll_failed"]
      unit    = "rolls"
      above   = 0
      seconds = 300
      of      = [1, 12]
      missing = "notBreaching"
      passes  = true
    }

    # The database

    efs-io = {
      says    = "The file system nears the most operations that EFS does, and SQLite will wait for it. Move to Postgres: see database_beside."
      metrics = ["efs_io"]
      unit    = "%"
      above   = 80
      seconds = 300
      of      = [3, 3]
      # A file system that nobody uses is not measured.
      missing = "notBreaching"
    }
    rds-cpu = {
      says    = "Postgres is busy. Performance Insights shows with what; a larger postgres.instance_class, or a replica to read from, helps."
      metrics = ["rds_cpu"]
      unit    = "%"
      above   = 80
      seconds = 300
      of      = [3, 3]
      missing = "missing"
    }
    rds-memory = {
      says    = "Postgres has no memory left and begins to swap. Take a larger postgres.instance_class."
      metrics = ["rds_memory"]
      unit    = "bytes"
      # An eighth of the smallest class's gibibyte.
      below   = local.gib / 8
      seconds = 300
      of      = [3, 3]
      missing = "missing"
    }
    rds-storage = {
      says    = "Postgres runs out of storage, and then stops. It has not grown by itself: it is at five times postgres.storage_gib, or grew within the last six hours."
      metrics = ["rds_storage"]
      unit    = "bytes"
      # RDS grows the storage when a tenth is free. Half of that is left.
      below   = var.postgres.storage_gib * local.gib / 20
      seconds = 300
      of      = [1, 1]
      missing = "missing"
    }
    rds-connections = {
      says    = "Postgres has more connections than the service makes, and refuses more at a limit that its memory sets. Performance Insights shows whose they are."
      metrics = ["rds_connections"]
      unit    = "connections"
      # A class with a gibibyte takes 112; nine tenths of those, less what AWS keeps.
      above   = max(90, local.connections_max)
      seconds = 300
      of      = [2, 2]
      missing = "missing"
    }
    replica-lag = {
      says    = "The replica lags behind, so people are greeted by dates that they have changed since. Look whether it is busy; postgres.read_replica = false finds users in the primary."
      metrics = ["replica_lag"]
      unit    = "s"
      # As long as a client waits before it retries a save.
      above   = 30
      seconds = 60
      of      = [5, 5]
      missing = "missing"
    }

    # Backups, certificate

    backup-failed = {
      says    = "A backup, or its copy to ${var.recovery_region}, failed. AWS Backup's jobs say why; start it again by hand. The alarm ends by itself, after a day."
      metrics = ["backup_failures"]
      unit    = "jobs"
      above   = 0
      seconds = 3600
      of      = [1, 24]
      missing = "notBreaching"
      passes  = true
    }
    backup-missing = {
      says    = "No backup was completed for 30 hours, though one is made every night; on a new stack, wait for the first. Look at AWS Backup's plan and jobs."
      metrics = ["backups_completed"]
      unit    = "backups"
      below   = 1
      seconds = 3600
      # One a day, of which one may take six hours longer than the one before it.
      of      = [30, 30]
      missing = "breaching"
    }
    certificate = {
      says    = "The certificate expires soon, and ACM has not renewed it. It asks for the record in DNS that validated it: look whether hosted_zone still holds it."
      metrics = ["certificate_days"]
      unit    = "days"
      # ACM renews 60 days before the end.
      below   = 30
      seconds = 86400
      of      = [1, 1]
      missing = "ignore"
    }
  }

  alarms = { for name, alarm in local.alarms_wanted : name => merge(
    { value = null, passes = false },
    alarm,
    { threshold = try(alarm.above, alarm.below) },
  ) if length(setsubtract(alarm.metrics, keys(local.metrics))) == 0 }

  # Those that roll a roll back. Names only: the roll waits for the alarms, and an alarm
  # does not depend on what is rolled.
  roll_alarms = [for name in ["5xx", "p99", "unhealthy"] : "${local.name}-${name}"]
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name        = "${local.name}-${each.key}"
  alarm_description = each.value.says

  comparison_operator = can(each.value.above) ? "GreaterThanThreshold" : "LessThanThreshold"
  threshold           = each.value.threshold
  datapoints_to_alarm = each.value.of[0]
  evaluation_periods  = each.value.of[1]
  treat_missing_data  = each.value.missing

  dynamic "metric_query" {
    for_each = { for id in each.value.metrics : id => local.metrics[id] }

    content {
      id          = metric_query.key
      label       = metric_query.value.label
      return_data = each.value.value == null

      metric {
        namespace   = metric_query.value.namespace
        metric_name = metric_query.value.name
        dimensions  = metric_query.value.dimensions
        stat        = metric_query.value.statistic
        period      = each.value.seconds
      }
    }
  }

  dynamic "metric_query" {
    for_each = each.value.value[*]

    content {
      id          = "value"
      expression  = metric_query.value
      label       = "${each.key}, ${each.value.unit}"
      return_data = true
    }
  }

  alarm_actions             = [aws_sns_topic.alarms.arn]
  ok_actions                = each.value.passes ? [] : [aws_sns_topic.alarms.arn]
  insufficient_data_actions = each.value.missing == "missing" ? [aws_sns_topic.alarms.arn] : []
}
