# Alarms of the service and its instances; alarms_database.tf has those of the data.
#
# A description says what happened and what to do now. `treat_missing_data` depends on the
# metric: notBreaching where AWS reports one only when something happens, ignore where a gap
# says nothing. What must not fall silent fills its gaps by metric math instead.
#
# No alarm goes off because the stack is new: those on something that is absent count only
# periods in which the group had instances. Urgent alarms also report their end, by which
# pagers close an incident.

locals {
  # SQLite on EFS takes 23 round trips of a millisecond or more a commit, and waits its turn.
  latency_seconds = coalesce(var.latency_seconds, var.database == "sqlite" ? 1 : 0.25)

  # A release is rolled back when one of these goes off. By name, because an alarm must not
  # depend on what is rolled.
  roll_alarms = [for alarm in ["5xx", "p99", "unhealthy"] : "${local.name}-${alarm}"]
}

resource "aws_cloudwatch_metric_alarm" "http_5xx" {
  alarm_name        = "${local.name}-5xx"
  alarm_description = "More than 1 % of requests failed. Open the dashboard: failures of the service are explained in its log, also 503 when it is overloaded; failures of the balancer mean no healthy instance, or no answer in time. A release in progress is rolled back."

  comparison_operator = "GreaterThanThreshold"
  threshold           = 1
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  treat_missing_data  = "notBreaching"

  # Fewer than five failures a minute are no alarm, however few requests there are. The
  # balancer counts a request for which it has no healthy instance only as a failure.
  metric_query {
    id          = "failed_percent"
    label       = "failed requests, %"
    expression  = "IF(FILL(service, 0) + FILL(balancer, 0) >= 5, 100 * (FILL(service, 0) + FILL(balancer, 0)) / (FILL(requests, 0) + FILL(balancer, 0)), 0)"
    return_data = true
  }

  metric_query {
    id = "service"

    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "HTTPCode_Target_5XX_Count"
      dimensions  = { LoadBalancer = aws_lb.this.arn_suffix }
      stat        = "Sum"
      period      = 60
    }
  }

  metric_query {
    id = "balancer"

    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "HTTPCode_ELB_5XX_Count"
      dimensions  = { LoadBalancer = aws_lb.this.arn_suffix }
      stat        = "Sum"
      period      = 60
    }
  }

  metric_query {
    id = "requests"

    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "RequestCount"
      dimensions  = { LoadBalancer = aws_lb.this.arn_suffix }
      stat        = "Sum"
      period      = 60
    }
  }

  alarm_actions = local.urgent
  ok_actions    = local.urgent
}

resource "aws_cloudwatch_metric_alarm" "p99" {
  alarm_name        = "${local.name}-p99"
  alarm_description = "One request in a hundred took longer than ${local.latency_seconds} s for five minutes. Open the dashboard to see whether the database is slow or the instances are busy. A release in progress is rolled back."

  namespace          = "AWS/ApplicationELB"
  metric_name        = "TargetResponseTime"
  dimensions         = { LoadBalancer = aws_lb.this.arn_suffix }
  extended_statistic = "p99"
  period             = 60

  comparison_operator = "GreaterThanThreshold"
  threshold           = local.latency_seconds
  evaluation_periods  = 5
  datapoints_to_alarm = 5
  treat_missing_data  = "notBreaching"

  # In a quiet night a single slow request would be the slowest percent.
  evaluate_low_sample_count_percentiles = "ignore"

  alarm_actions = local.urgent
  ok_actions    = local.urgent
}

resource "aws_cloudwatch_metric_alarm" "unhealthy" {
  alarm_name        = "${local.name}-unhealthy"
  alarm_description = "An instance has not answered /readyz with 200 for three minutes. Its log says why: the release does not start, or the database does not answer this instance, which the dashboard compares with the others. Auto Scaling replaces it. A release in progress is rolled back."

  namespace   = "AWS/ApplicationELB"
  metric_name = "UnHealthyHostCount"
  dimensions  = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.this.arn_suffix }
  # An instance boots in less than two minutes, so the least of each minute is zero in one
  # of three.
  statistic = "Minimum"
  period    = 60

  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 3
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"

  alarm_actions = local.urgent
  ok_actions    = local.urgent
}

resource "aws_cloudwatch_metric_alarm" "none_healthy" {
  alarm_name        = "${local.name}-none-healthy"
  alarm_description = "No instance has been healthy for five minutes, so every request fails. Read the group's activity history and the service's log; if the release is at fault, go back by terraform/deploy ${var.environment} --previous."

  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  # Metrics come a minute or two late, and a gap that is filled counts as none healthy: so
  # many periods are never gaps alone.
  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
  evaluation_periods  = 5
  datapoints_to_alarm = 5
  treat_missing_data  = "notBreaching"

  metric_query {
    id          = "none_healthy"
    label       = "no instance is healthy"
    expression  = "IF(FILL(desired, 0) > 0 AND FILL(healthy, 0) < 1, 1, 0)"
    return_data = true
  }

  metric_query {
    id = "healthy"

    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "HealthyHostCount"
      dimensions  = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.this.arn_suffix }
      # Each of the balancer's nodes checks by itself: healthy to any of them.
      stat   = "Maximum"
      period = 60
    }
  }

  metric_query {
    id = "desired"

    metric {
      namespace   = "AWS/AutoScaling"
      metric_name = "GroupDesiredCapacity"
      dimensions  = { AutoScalingGroupName = aws_autoscaling_group.this.name }
      stat        = "Minimum"
      period      = 60
    }
  }

  alarm_actions = local.urgent
  ok_actions    = local.urgent
}

resource "aws_cloudwatch_metric_alarm" "store_errors" {
  alarm_name        = "${local.name}-store-errors"
  alarm_description = "Batches of requests fail in the database. The service's log says why. A failover of Postgres takes about a minute and needs nothing done."

  comparison_operator = "GreaterThanThreshold"
  # A batch holds up to a thousand requests. The service retries those that lost their
  # connection, so clients have seen a failure that is counted.
  threshold           = 5
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"

  metric_query {
    id          = "failed"
    label       = "failed batches a minute"
    expression  = "FILL(reads, 0) + FILL(writes, 0)"
    return_data = true
  }

  metric_query {
    id = "reads"

    metric {
      namespace   = local.name
      metric_name = "hello_birthday_store_errors_total"
      dimensions  = { kind = "read" }
      stat        = "Sum"
      period      = 60
    }
  }

  metric_query {
    id = "writes"

    metric {
      namespace   = local.name
      metric_name = "hello_birthday_store_errors_total"
      dimensions  = { kind = "write" }
      stat        = "Sum"
      period      = 60
    }
  }

  alarm_actions = local.urgent
  ok_actions    = local.urgent
}

resource "aws_cloudwatch_metric_alarm" "store_rejections" {
  alarm_name        = "${local.name}-store-rejections"
  alarm_description = "The service rejects requests with 503 because the database does not keep up. Open the dashboard to see whether the database is busy or slow; more instances do not help a database that is full."

  comparison_operator = "GreaterThanThreshold"
  # One a second; a burst is over in less than three minutes.
  threshold           = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"

  metric_query {
    id          = "rejected"
    label       = "rejected requests a minute"
    expression  = "FILL(reads, 0) + FILL(writes, 0)"
    return_data = true
  }

  metric_query {
    id = "reads"

    metric {
      namespace   = local.name
      metric_name = "hello_birthday_store_rejected_total"
      dimensions  = { kind = "read" }
      stat        = "Sum"
      period      = 60
    }
  }

  metric_query {
    id = "writes"

    metric {
      namespace   = local.name
      metric_name = "hello_birthday_store_rejected_total"
      dimensions  = { kind = "write" }
      stat        = "Sum"
      period      = 60
    }
  }

  alarm_actions = local.urgent
  ok_actions    = local.urgent
}

resource "aws_cloudwatch_metric_alarm" "telemetry_missing" {
  alarm_name        = "${local.name}-telemetry-missing"
  alarm_description = "Instances are in service, but no memory figures or no service counters have reached CloudWatch for 15 minutes, so alarms that use them are blind. On an instance, run amazon-cloudwatch-agent-ctl -a status and read its log under /opt/aws/amazon-cloudwatch-agent/logs."

  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 3
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"

  metric_query {
    id          = "missing"
    label       = "nothing came from the agents"
    expression  = "IF(FILL(in_service, 0) > 0 AND (FILL(host, 0) < 1 OR FILL(service, 0) < 1), 1, 0)"
    return_data = true
  }

  metric_query {
    id = "in_service"

    metric {
      namespace   = "AWS/AutoScaling"
      metric_name = "GroupInServiceInstances"
      dimensions  = { AutoScalingGroupName = aws_autoscaling_group.this.name }
      stat        = "Minimum"
      period      = 300
    }
  }

  metric_query {
    id = "host"

    metric {
      namespace   = local.name
      metric_name = "mem_used_percent"
      dimensions  = { AutoScalingGroupName = aws_autoscaling_group.this.name }
      stat        = "SampleCount"
      period      = 300
    }
  }

  # The agent sends how much a counter grew, each minute, also when that is zero.
  metric_query {
    id = "service"

    metric {
      namespace   = local.name
      metric_name = "hello_birthday_store_errors_total"
      dimensions  = { kind = "write" }
      stat        = "SampleCount"
      period      = 300
    }
  }

  alarm_actions = local.routine
}

resource "aws_cloudwatch_metric_alarm" "below_desired" {
  alarm_name        = "${local.name}-below-desired"
  alarm_description = "Fewer instances are in service than the group wants. Read the group's activity history: AWS may have none of this type, or new instances do not become healthy."

  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  # An instance is in service within two minutes of its launch.
  evaluation_periods  = 10
  datapoints_to_alarm = 10
  treat_missing_data  = "ignore"

  metric_query {
    id          = "lacking"
    label       = "instances that are lacking"
    expression  = "desired - in_service"
    return_data = true
  }

  metric_query {
    id = "desired"

    metric {
      namespace   = "AWS/AutoScaling"
      metric_name = "GroupDesiredCapacity"
      dimensions  = { AutoScalingGroupName = aws_autoscaling_group.this.name }
      stat        = "Average"
      period      = 60
    }
  }

  metric_query {
    id = "in_service"

    metric {
      namespace   = "AWS/AutoScaling"
      metric_name = "GroupInServiceInstances"
      dimensions  = { AutoScalingGroupName = aws_autoscaling_group.this.name }
      stat        = "Average"
      period      = 60
    }
  }

  alarm_actions = local.routine
}

resource "aws_cloudwatch_metric_alarm" "cpu" {
  alarm_name        = "${local.name}-cpu"
  alarm_description = "The instances have been busy for 15 minutes although the group grows with the requests. Raise size.max if the group is at it; lower requests_per_instance if a request costs more than it did."

  namespace   = "AWS/EC2"
  metric_name = "CPUUtilization"
  dimensions  = { AutoScalingGroupName = aws_autoscaling_group.this.name }
  statistic   = "Average"
  period      = 300

  comparison_operator = "GreaterThanThreshold"
  threshold           = 80
  evaluation_periods  = 3
  datapoints_to_alarm = 3
  treat_missing_data  = "ignore"

  alarm_actions = local.routine
}

# An instance without memory, or whose disk is full, fails by itself and is replaced, which the
# alarms above report. These two go off before that.

resource "aws_cloudwatch_metric_alarm" "memory" {
  alarm_name        = "${local.name}-memory"
  alarm_description = "An instance has used more than 80 % of its memory for ten minutes; when none is left, the kernel kills the service. If the graph grows steadily, replace the instances to gain time and look for a leak; otherwise choose a larger instance_type."

  namespace   = local.name
  metric_name = "mem_used_percent"
  dimensions  = { AutoScalingGroupName = aws_autoscaling_group.this.name }
  statistic   = "Maximum"
  period      = 300

  comparison_operator = "GreaterThanThreshold"
  # The service takes less than 100 MiB and the system some hundreds, far from this on 2 GiB.
  threshold           = 80
  evaluation_periods  = 2
  datapoints_to_alarm = 2
  treat_missing_data  = "ignore"

  alarm_actions = local.routine
}

resource "aws_cloudwatch_metric_alarm" "disk" {
  alarm_name        = "${local.name}-disk"
  alarm_description = "An instance's disk has been more than 80 % full for ten minutes. Only logs should be written to it: find out what else is, and replace the instances to gain time."

  namespace   = local.name
  metric_name = "disk_used_percent"
  dimensions  = { AutoScalingGroupName = aws_autoscaling_group.this.name }
  statistic   = "Maximum"
  period      = 300

  comparison_operator = "GreaterThanThreshold"
  # The journal limits itself to a tenth of the disk.
  threshold           = 80
  evaluation_periods  = 2
  datapoints_to_alarm = 2
  treat_missing_data  = "ignore"

  alarm_actions = local.routine
}

resource "aws_cloudwatch_metric_alarm" "certificate" {
  count = var.domain == null ? 0 : 1

  alarm_name        = "${local.name}-certificate"
  alarm_description = "The certificate expires within 30 days and has not been renewed. ACM renews its own if the DNS record that validated it still exists; an imported one has to be imported again."

  namespace   = "AWS/CertificateManager"
  metric_name = "DaysToExpiry"
  dimensions  = { CertificateArn = local.certificate_arn }
  statistic   = "Minimum"
  period      = 86400

  comparison_operator = "LessThanThreshold"
  # ACM renews 60 days before the end.
  threshold           = 30
  evaluation_periods  = 1
  datapoints_to_alarm = 1
  treat_missing_data  = "ignore"

  alarm_actions = local.routine
}
