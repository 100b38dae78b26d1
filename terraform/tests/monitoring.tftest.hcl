# What alarms and the dashboard hold, whatever the stack is made of.

mock_provider "aws" {
  source = "./tests/mocks"

  mock_resource "aws_cloudwatch_metric_alarm" {
    override_during = plan
    defaults        = {}
  }
}

mock_provider "aws" {
  alias  = "recovery"
  source = "./tests/mocks"
}

# Known before they are created, so that a plan shows the recipients.
override_resource {
  target          = aws_sns_topic.alarms["urgent"]
  values          = { arn = "arn:aws:sns:eu-central-1:123456789012:urgent" }
  override_during = plan
}

override_resource {
  target          = aws_sns_topic.alarms["routine"]
  values          = { arn = "arn:aws:sns:eu-central-1:123456789012:routine" }
  override_during = plan
}

variables {
  environment = "test"
  ami_id      = "ami-0123456789abcdef0"
  plain_http  = true
  database    = "sqlite"
}

run "alarms_of_a_stack_on_sqlite" {
  command = plan

  variables {
    alarm_topic_arns = {
      urgent  = ["arn:aws:sns:eu-central-1:123456789012:pager"]
      routine = ["arn:aws:sns:eu-central-1:123456789012:chat"]
    }
    alarm_emails = { urgent = ["ops@example.com"], routine = ["ops@example.com", "team@example.com"] }
  }

  assert {
    condition     = alltrue([for alarm in concat(local.alarms.urgent, local.alarms.routine) : length(alarm.alarm_description) > 100 && length(alarm.alarm_description) <= 1024])
    error_message = "An alarm does not say what to do, or in more words than CloudWatch takes."
  }

  assert {
    condition = alltrue([for alarm in local.alarms.urgent :
      alarm.alarm_actions == toset([aws_sns_topic.alarms["urgent"].arn, "arn:aws:sns:eu-central-1:123456789012:pager"]) && alarm.ok_actions == alarm.alarm_actions
    ])
    error_message = "An urgent alarm does not reach the urgent topic and the pager, or does not report its end."
  }

  assert {
    condition = alltrue([for alarm in local.alarms.routine :
      alarm.alarm_actions == toset([aws_sns_topic.alarms["routine"].arn, "arn:aws:sns:eu-central-1:123456789012:chat"])
    ])
    error_message = "A routine alarm does not reach the routine topic and the chat."
  }

  assert {
    # A new alarm goes from INSUFFICIENT_DATA to OK.
    condition     = alltrue([for alarm in local.alarms.routine : alarm.ok_actions == null]) && alltrue([for alarm in concat(local.alarms.urgent, local.alarms.routine) : alarm.insufficient_data_actions == null])
    error_message = "An alarm notifies people because it is new."
  }

  assert {
    condition     = length([for alarm in concat(local.alarms.urgent, local.alarms.routine) : alarm if alarm.treat_missing_data == "breaching" || alarm.treat_missing_data == null]) == 0
    error_message = "An alarm goes off because the stack is new and its metric is missing."
  }

  assert {
    # What is absent in a new stack, or in the minutes before it was there, is not the group's fault.
    condition = alltrue([for alarm in [aws_cloudwatch_metric_alarm.none_healthy, aws_cloudwatch_metric_alarm.telemetry_missing, aws_cloudwatch_metric_alarm.backup_missing] :
      length(regexall("^IF\\(FILL\\((in_service|desired), 0\\) > 0 AND .+, 1, 0\\)$", one([for query in alarm.metric_query : query.expression if query.return_data == true]))) == 1
      && anytrue([for query in alarm.metric_query : query.metric[0].namespace == "AWS/AutoScaling" if query.return_data != true])
      && alarm.threshold == 0 && alarm.datapoints_to_alarm == alarm.evaluation_periods && alarm.evaluation_periods >= 3
    ])
    error_message = "An alarm on something absent does not ask whether the group had instances, or not for long enough."
  }

  assert {
    condition = alltrue(flatten([for alarm in concat(local.alarms.urgent, local.alarms.routine) : [
      length([for query in alarm.metric_query : query if query.return_data == true]) == (alarm.metric_name == null ? 1 : 0),
      # An expression uses what it is given, and nothing else.
      alltrue([for query in alarm.metric_query :
        toset(regexall("\\b[a-z_]+\\b", query.expression)) == toset([for metric in alarm.metric_query : metric.id if metric.return_data != true])
        if query.return_data == true && query.expression != null
      ]),
    ]]))
    error_message = "An alarm does not compare exactly one value, or its expression and its metrics differ."
  }

  assert {
    condition = alltrue(flatten([for alarm in concat(local.alarms.urgent, local.alarms.routine) :
      [for period in concat([alarm.period], [for query in alarm.metric_query : query.metric[0].period if query.return_data != true]) :
        alarm.evaluation_periods * period <= (period < 3600 ? 86400 : 604800) if period != null
      ]
    ]))
    error_message = "CloudWatch looks back a day at most, or a week in periods of an hour or more."
  }

  assert {
    condition     = length(setsubtract(local.roll_alarms, local.alarms.urgent[*].alarm_name)) == 0
    error_message = "A release is gated by an alarm that does not exist."
  }

  assert {
    # AWS starts no instance refresh while one of them is in alarm.
    condition     = alltrue([for alarm in local.alarms.urgent : alarm.treat_missing_data == "notBreaching" if contains(local.roll_alarms, alarm.alarm_name)])
    error_message = "A stack without requests could not be released to."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.p99.threshold == 1 && aws_cloudwatch_metric_alarm.p99.evaluate_low_sample_count_percentiles == "ignore"
    error_message = "The latency is not that of SQLite on EFS, or a few requests in a quiet night decide about it."
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.efs_io) == 1 && length([for alarm in concat(local.alarms.urgent, local.alarms.routine) : alarm if strcontains(alarm.alarm_name, "aurora")]) == 0
    error_message = "The alarms are not those of SQLite on EFS."
  }

  assert {
    condition = { for topic in ["urgent", "routine"] : topic => toset([for key, subscription in aws_sns_topic_subscription.alarms : subscription.endpoint if subscription.topic_arn == aws_sns_topic.alarms[topic].arn]) } == {
      urgent  = toset(["ops@example.com"])
      routine = toset(["ops@example.com", "team@example.com"])
    }
    error_message = "The addresses do not get what they are to get."
  }

  assert {
    condition = alltrue([for targets in [aws_cloudwatch_event_target.roll, aws_cloudwatch_event_target.backup_failed] :
      toset([for target in targets : target.arn]) == toset([aws_sns_topic.alarms["routine"].arn, "arn:aws:sns:eu-central-1:123456789012:chat"])
    ])
    error_message = "A failed release or backup is not reported to the routine topics."
  }
}

run "alarms_of_a_stack_on_postgres" {
  command = plan

  variables {
    database = "postgres"
    postgres = { min_capacity = 1, max_capacity = 8 }
  }

  assert {
    condition     = length(setsubtract(["aurora-memory", "aurora-capacity", "aurora-connections"], [for alarm in concat(local.alarms.urgent, local.alarms.routine) : trimprefix(alarm.alarm_name, "hello-birthday-test-")])) == 0
    error_message = "Aurora is not watched."
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.efs_io) == 0 && length(aws_cloudwatch_metric_alarm.aurora_reader_lag) == 0 && length(aws_cloudwatch_metric_alarm.certificate) == 0
    error_message = "There are alarms of what the stack does not have."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.p99.threshold == 0.25
    error_message = "The latency is not that of Postgres."
  }

  assert {
    # Aurora accepts 1,669 connections with eight units of capacity.
    condition     = abs(aws_cloudwatch_metric_alarm.aurora_connections[0].threshold - 0.8 * 1669) < 10
    error_message = "The alarm on connections does not follow the maximum capacity."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.aurora_memory[0].threshold < 0.1 * 16 * pow(1024, 3)
    error_message = "The alarm on memory does not follow the maximum capacity."
  }
}

run "readers_and_a_certificate_are_watched_where_there_are_some" {
  command = plan

  variables {
    database        = "postgres"
    postgres        = { readers = 1, read_from_readers = true }
    domain          = "hello.example.com"
    hosted_zone     = "example.com"
    latency_seconds = 0.5
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.aurora_reader_lag) == 1 && length(aws_cloudwatch_metric_alarm.certificate) == 1
    error_message = "The readers or the certificate are not watched."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.p99.threshold == 0.5
    error_message = "The latency is not the one that was asked for."
  }

  assert {
    # With a minimum of half a unit Aurora accepts no more than 2,000.
    condition     = aws_cloudwatch_metric_alarm.aurora_connections[0].threshold <= 0.8 * 2000
    error_message = "The alarm on connections is above what Aurora accepts."
  }
}
