# One page that answers, from top to bottom: is it healthy, is it fast, is the roll going
# well, is there room, how is the database, will it last, and what does the log say.

locals {
  markers = ["roll_started", "roll_baking", "roll_succeeded", "roll_failed", "roll_rolled_back"]

  # Sections of rows of widgets. A graph has `lines` by the names of metrics; those on the
  # `right` have a scale of their own. It shows the threshold of its `alarm`, and its
  # value where that is calculated.
  dashboard = [
    {
      says = "## Is it healthy?\nGreen alarms, no 5xx, as many healthy instances as the group wants."
      rows = [
        [{ title = "Alarms", alarms = true }],
        [
          { title = "Requests", unit = "a minute", lines = ["requests", "target_2xx", "target_4xx"] },
          { title = "Failures", unit = "a minute", lines = ["target_5xx", "elb_5xx"] },
          { title = "Failed of all requests", unit = "%", lines = [], alarm = "5xx" },
          { title = "Instances", unit = "instances", lines = ["healthy", "unhealthy", "desired"] },
        ],
      ]
    },
    {
      says = "## Is it fast?\nTime from the balancer to the service and back; what the service refuses is answered 503 at once."
      rows = [[
        { title = "Time to answer", unit = "seconds", lines = ["p50", "p99", "slowest"], alarm = "p99" },
        { title = "Load of an instance", unit = "a minute", lines = ["per_target"], guide = { label = "the group grows", value = var.requests_per_instance } },
        { title = "Connections", unit = "connections", lines = ["connections", "refused"] },
        { title = "Refused by the service (503)", unit = "a minute", lines = ["read_rejected", "write_rejected"], alarm = "store-refusals" },
      ]]
    },
    {
      says = "## Is the roll going well?\nThe dots mark when a roll started, was steady (baking), and how it ended, whatever started it."
      rows = [[
        { title = "Group, and rolls", unit = "instances", lines = ["desired", "in_service", "pending", "terminating"], right = local.markers },
        { title = "Health, and rolls", unit = "instances", lines = ["healthy", "unhealthy"], right = local.markers },
        { title = "Failures, and rolls", unit = "a minute", lines = ["target_5xx", "elb_5xx"], right = local.markers },
      ]]
    },
    {
      says = "## Is there room?\nOf the instances, the busiest or fullest and all of them."
      rows = [[
        { title = "CPU", unit = "%", lines = ["cpu", "cpu_busiest"], alarm = "cpu" },
        { title = "Memory", unit = "%", lines = ["memory", "memory_mean"], alarm = "memory" },
        { title = "Disk", unit = "%", lines = ["disk", "disk_mean"], alarm = "disk" },
      ]]
    },
    {
      says = "## How is the database?\nFirst as the service sees it: batches that failed, and those retried because their connection was lost."
      rows = [
        [
          { title = "Batches failed", unit = "a minute", lines = ["read_errors", "write_errors"], alarm = "store-errors" },
          { title = "Batches retried", unit = "a minute", lines = ["read_retries", "write_retries"] },
        ],
        [
          { title = "EFS: share of its operations", unit = "%", lines = ["efs_io"], alarm = "efs-io" },
          { title = "EFS: bytes", unit = "bytes a minute", lines = ["efs_read", "efs_written"] },
          { title = "EFS: mounts", unit = "mounts", lines = ["efs_clients"] },
        ],
        [
          { title = "Postgres: CPU", unit = "%", lines = ["rds_cpu", "replica_cpu"], alarm = "rds-cpu" },
          { title = "Postgres: memory", unit = "bytes", lines = ["rds_memory"], alarm = "rds-memory" },
          { title = "Postgres: storage", unit = "bytes", lines = ["rds_storage"], alarm = "rds-storage" },
        ],
        [
          { title = "Postgres: connections", unit = "connections", lines = ["rds_connections"], alarm = "rds-connections" },
          { title = "Postgres: time of its disk", unit = "seconds", lines = ["rds_reading", "rds_writing"] },
          { title = "Postgres: replica's lag", unit = "seconds", lines = ["replica_lag"], alarm = "replica-lag" },
        ],
      ]
    },
    {
      says = "## Will it last?\nA backup a night, and its copy in ${var.recovery_region}. A certificate is renewed 60 days before it ends."
      rows = [[
        { title = "Backups", unit = "jobs a day", lines = ["backups_completed", "backups_failed"], seconds = 86400 },
        { title = "Copies", unit = "jobs a day", lines = ["copies_completed", "copies_failed"], seconds = 86400 },
        { title = "Certificate", unit = "days left", lines = ["certificate_days"], alarm = "certificate", seconds = 86400 },
      ]]
    },
    {
      says = "## What does the log say?\nWarnings and errors of the service; they hold no names and no dates."
      rows = [
        [{ title = "Latest", query = "fields @timestamp, @logStream, @message | filter @logStream like /service/ and @message like /WARN|ERROR|Failed/ | sort @timestamp desc | limit 50" }],
      ]
    },
  ]

  # Without the graphs of what this stack does not have.
  dashboard_rows = [
    for row in concat([for section in local.dashboard : concat([[{ markdown = section.says }]], section.rows)]...) : [
      for widget in row : merge(widget, { lines = [for id in try(widget.lines, []) : id if contains(keys(local.metrics), id)] })
      if !can(widget.lines) || can(local.alarms[widget.alarm]) || length(setintersection(try(widget.lines, []), keys(local.metrics))) > 0
    ]
  ]

  # In units of CloudWatch's grid, which has 24 columns.
  dashboard_heights = [for row in local.dashboard_rows :
    length(row) == 0 ? 0 : can(row[0].markdown) ? 2 : can(row[0].alarms) ? 4 : can(row[0].query) ? 8 : 6
  ]
  dashboard_placed = concat([for index, row in local.dashboard_rows : [
    for column, widget in row : merge(widget, { at = {
      x      = column * 24 / length(row)
      y      = sum(concat([0], slice(local.dashboard_heights, 0, index)))
      width  = 24 / length(row)
      height = local.dashboard_heights[index]
    } })
  ]]...)

  dashboard_widgets = concat(
    [for widget in local.dashboard_placed : merge(widget.at, {
      type       = "text"
      properties = { markdown = widget.markdown }
    }) if can(widget.markdown)],
    [for widget in local.dashboard_placed : merge(widget.at, {
      type       = "alarm"
      properties = { title = widget.title, sortBy = "stateUpdatedTimestamp", alarms = [for alarm in aws_cloudwatch_metric_alarm.this : alarm.arn] }
    }) if can(widget.alarms)],
    [for widget in local.dashboard_placed : merge(widget.at, {
      type       = "log"
      properties = { title = widget.title, region = var.region, view = "table", query = "SOURCE '${aws_cloudwatch_log_group.service.name}' | ${widget.query}" }
    }) if can(widget.query)],
    [for widget in local.dashboard_placed : merge(widget.at, {
      type = "metric"
      properties = {
        title  = widget.title
        region = var.region
        view   = "timeSeries"
        period = try(widget.seconds, 60)
        yAxis = {
          left  = { label = widget.unit, min = 0, showUnits = false }
          right = { label = can(widget.right) ? "events" : "", min = 0, showUnits = false }
        }
        annotations = { horizontal = concat(
          [for alarm in [try(local.alarms[widget.alarm], null)] : { label = "alarm", value = alarm.threshold, color = local.red } if alarm != null],
          try([widget.guide], []),
        ) }
        metrics = concat(
          [for id in widget.lines : concat(local.graph_lines[id], [merge(local.graph_looks[id], { visible = true })])],
          [for id in try(widget.right, []) : concat(local.graph_lines[id], [merge(local.graph_looks[id], { yAxis = "right" })])],
          # What an alarm calculates, and what it calculates it from.
          [for id in setsubtract(try(local.alarms[widget.alarm].metrics, []), widget.lines) : concat(local.graph_lines[id], [merge(local.graph_looks[id], { visible = false })])],
          [for value in try(local.alarms[widget.alarm].value[*], []) : [{ id = "value", expression = value, label = widget.title }]],
        )
      }
    }) if !can(widget.markdown) && !can(widget.alarms) && !can(widget.query)],
  )

  # Good is green, bad is red.
  red   = "#d62728"
  green = "#2ca02c"
  graph_colors = merge(
    { for id in ["target_5xx", "unhealthy", "roll_failed", "backups_failed", "copies_failed"] : id => local.red },
    { for id in ["target_2xx", "healthy", "in_service", "roll_succeeded", "backups_completed", "copies_completed"] : id => local.green },
  )

  # A metric as a graph names it, and how it looks there.
  graph_lines = { for id, metric in local.metrics : id =>
    concat([metric.namespace, metric.name], flatten([for name, value in metric.dimensions : [name, value]]))
  }
  graph_looks = { for id, metric in local.metrics : id => merge(
    { id = id, label = metric.label, stat = metric.statistic },
    { for color in [lookup(local.graph_colors, id, null)] : "color" => color if color != null },
  ) }
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = local.name
  dashboard_body = jsonencode({ start = "-PT3H", periodOverride = "inherit", widgets = local.dashboard_widgets })
}
