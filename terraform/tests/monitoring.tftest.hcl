# What alarms and the dashboard hold, whatever the stack is made of.

mock_provider "aws" {
  source = "./tests/mocks"
}

mock_provider "aws" {
  alias  = "recovery"
  source = "./tests/mocks"
}

# Known before it is created, so that a plan shows the recipients.
override_resource {
  target          = aws_sns_topic.alarms
  values          = { arn = "arn:aws:sns:eu-central-1:123456789012:alarms" }
  override_during = plan
}

variables {
  environment = "test"
  ami_id      = "ami-0123456789abcdef0"
  plain_http  = true
  database    = "sqlite"
}

run "alarms_and_graphs_of_a_stack_on_sqlite" {
  command = plan

  assert {
    condition     = alltrue([for widget in local.dashboard_widgets : widget.x + widget.width <= 24 && widget.width >= 6])
    error_message = "A widget is too narrow to read, or sticks out of the 24 columns."
  }

  assert {
    condition = length(flatten([for index, widget in local.dashboard_widgets : [
      for other in slice(local.dashboard_widgets, 0, index) : "${index}"
      if widget.x < other.x + other.width && other.x < widget.x + widget.width && widget.y < other.y + other.height && other.y < widget.y + widget.height
    ]])) == 0
    error_message = "A widget covers another."
  }

  assert {
    condition = alltrue([for widget in local.dashboard_widgets :
      widget.properties.yAxis.left.label != "" && length(widget.properties.metrics) > 0 if widget.type == "metric"
    ])
    error_message = "A graph is empty, or does not say what it counts."
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : length(alarm.alarm_description) > 60 && length(alarm.alarm_description) <= 1024])
    error_message = "An alarm has no description, or one that CloudWatch cuts."
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : tolist(alarm.alarm_actions) == tolist([aws_sns_topic.alarms.arn])])
    error_message = "An alarm tells nobody."
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : length([for query in alarm.metric_query : query if query.return_data]) == 1])
    error_message = "An alarm does not compare exactly one value."
  }

  assert {
    condition = alltrue([for name, alarm in aws_cloudwatch_metric_alarm.this :
      local.alarms[name].seconds * alarm.evaluation_periods <= (local.alarms[name].seconds < 3600 ? 86400 : 604800)
    ])
    error_message = "CloudWatch looks back a day at most, or a week in periods of an hour or more."
  }

  assert {
    condition     = length(setsubtract(local.roll_alarms, [for alarm in aws_cloudwatch_metric_alarm.this : alarm.alarm_name])) == 0
    error_message = "A roll is gated by an alarm that does not exist."
  }

  assert {
    # AWS starts no roll while one of them is in alarm.
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : alarm.treat_missing_data == "notBreaching" if contains(local.roll_alarms, alarm.alarm_name)])
    error_message = "A stack without requests would not roll."
  }

  assert {
    condition     = length([for name in keys(local.alarms) : name if startswith(name, "rds-") || startswith(name, "replica-")]) == 0 && contains(keys(local.alarms), "efs-io")
    error_message = "The alarms are not those of SQLite on EFS."
  }

  assert {
    condition     = !strcontains(jsonencode([for widget in local.dashboard_widgets : try(widget.properties.title, "")]), "Postgres:")
    error_message = "There are graphs of a Postgres that does not exist."
  }
}

run "a_stack_on_postgres_has_nothing_of_sqlite" {
  command = plan

  variables {
    database = "postgres"
  }

  assert {
    condition     = length([for name in keys(local.alarms) : name if startswith(name, "rds-")]) == 4 && !contains(keys(local.alarms), "efs-io") && !contains(keys(local.alarms), "replica-lag")
    error_message = "The alarms are not those of Postgres without a replica."
  }

  assert {
    condition     = !strcontains(jsonencode([for widget in local.dashboard_widgets : try(widget.properties.title, "")]), "EFS:")
    error_message = "There are graphs of a file system that does not exist."
  }
}

run "a_replica_and_a_certificate_are_watched_where_there_is_one" {
  command = plan

  variables {
    database    = "postgres"
    postgres    = { read_replica = true }
    domain      = "hello.example.com"
    hosted_zone = "example.com"
  }

  assert {
    condition     = length(setsubtract(["replica-lag", "certificate"], keys(local.alarms))) == 0
    error_message = "The replica or the certificate is not watched."
  }
}
