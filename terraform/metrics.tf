# What alarms and the dashboard look at, by the names that they call it.

locals {
  # The image holds the name of what its agent sends.
  metric_namespace = local.name

  # Each metric: CloudWatch's name for it, the statistic that matters, and what a graph
  # calls it.
  metric_sources = {
    balancer = {
      exists     = true
      namespace  = "AWS/ApplicationELB"
      dimensions = { LoadBalancer = aws_lb.this.arn_suffix }
      metrics = {
        requests    = ["RequestCount", "Sum", "requests"]
        target_2xx  = ["HTTPCode_Target_2XX_Count", "Sum", "2xx"]
        target_4xx  = ["HTTPCode_Target_4XX_Count", "Sum", "4xx"]
        target_5xx  = ["HTTPCode_Target_5XX_Count", "Sum", "5xx of the service"]
        elb_5xx     = ["HTTPCode_ELB_5XX_Count", "Sum", "5xx of the balancer"]
        p50         = ["TargetResponseTime", "p50", "p50"]
        p99         = ["TargetResponseTime", "p99", "p99"]
        slowest     = ["TargetResponseTime", "Maximum", "slowest"]
        connections = ["ActiveConnectionCount", "Sum", "open"]
        refused     = ["TargetConnectionErrorCount", "Sum", "failed, to the service"]
      }
    }

    targets = {
      exists     = true
      namespace  = "AWS/ApplicationELB"
      dimensions = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.this.arn_suffix }
      metrics = {
        # The balancer's nodes check on their own: the least is what all of them say, the
        # most what one of them does.
        healthy    = ["HealthyHostCount", "Minimum", "healthy"]
        reachable  = ["HealthyHostCount", "Maximum", "healthy to some node"]
        unhealthy  = ["UnHealthyHostCount", "Minimum", "unhealthy"]
        per_target = ["RequestCountPerTarget", "Sum", "requests per instance"]
      }
    }

    group = {
      exists     = true
      namespace  = "AWS/AutoScaling"
      dimensions = { AutoScalingGroupName = aws_autoscaling_group.this.name }
      metrics = {
        desired     = ["GroupDesiredCapacity", "Average", "desired"]
        in_service  = ["GroupInServiceInstances", "Average", "in service"]
        pending     = ["GroupPendingInstances", "Average", "starting"]
        terminating = ["GroupTerminatingInstances", "Average", "ending"]
      }
    }

    instances = {
      exists     = true
      namespace  = "AWS/EC2"
      dimensions = { AutoScalingGroupName = aws_autoscaling_group.this.name }
      metrics = {
        cpu         = ["CPUUtilization", "Average", "of all"]
        cpu_busiest = ["CPUUtilization", "Maximum", "busiest instance"]
      }
    }

    # Sent by the agent of the image, one figure a minute and instance.
    hosts = {
      exists     = true
      namespace  = local.metric_namespace
      dimensions = { AutoScalingGroupName = aws_autoscaling_group.this.name }
      metrics = {
        memory      = ["mem_used_percent", "Maximum", "fullest instance"]
        memory_mean = ["mem_used_percent", "Average", "mean"]
        disk        = ["disk_used_percent", "Maximum", "fullest instance"]
        disk_mean   = ["disk_used_percent", "Average", "mean"]
      }
    }

    # The service's counters. The agent sends by how much they grew.
    reads = {
      exists     = true
      namespace  = local.metric_namespace
      dimensions = { kind = "read" }
      metrics = {
        read_errors   = ["hello_birthday_store_errors_total", "Sum", "reads failed"]
        read_rejected = ["hello_birthday_store_rejected_total", "Sum", "reads rejected"]
        read_retries  = ["hello_birthday_store_retries_total", "Sum", "reads retried"]
      }
    }

    writes = {
      exists     = true
      namespace  = local.metric_namespace
      dimensions = { kind = "write" }
      metrics = {
        write_errors   = ["hello_birthday_store_errors_total", "Sum", "writes failed"]
        write_rejected = ["hello_birthday_store_rejected_total", "Sum", "writes rejected"]
        write_retries  = ["hello_birthday_store_retries_total", "Sum", "writes retried"]
      }
    }

    sqlite = {
      exists     = length(module.sqlite) > 0
      namespace  = "AWS/EFS"
      dimensions = { FileSystemId = one(module.sqlite[*].file_system_id) }
      metrics = {
        efs_io      = ["PercentIOLimit", "Average", "of the file system's operations"]
        efs_clients = ["ClientConnections", "Sum", "mounts"]
        efs_read    = ["DataReadIOBytes", "Sum", "read"]
        efs_written = ["DataWriteIOBytes", "Sum", "written"]
      }
    }

    postgres = {
      exists     = length(module.postgres) > 0
      namespace  = "AWS/RDS"
      dimensions = { DBInstanceIdentifier = one(module.postgres[*].identifier) }
      metrics = {
        rds_cpu         = ["CPUUtilization", "Average", "primary"]
        rds_memory      = ["FreeableMemory", "Minimum", "free memory"]
        rds_storage     = ["FreeStorageSpace", "Minimum", "free storage"]
        rds_connections = ["DatabaseConnections", "Maximum", "connections"]
        rds_reading     = ["ReadLatency", "Average", "a read of the disk"]
        rds_writing     = ["WriteLatency", "Average", "a write to the disk"]
      }
    }

    replica = {
      exists     = length(module.postgres) > 0 && var.postgres.read_replica
      namespace  = "AWS/RDS"
      dimensions = { DBInstanceIdentifier = one(module.postgres[*].replica_identifier) }
      metrics = {
        replica_cpu = ["CPUUtilization", "Average", "replica"]
        replica_lag = ["ReplicaLag", "Maximum", "replica's lag"]
      }
    }

    vault = {
      exists     = true
      namespace  = "AWS/Backup"
      dimensions = { BackupVaultName = aws_backup_vault.this.name }
      metrics = {
        backups_completed = ["NumberOfBackupJobsCompleted", "Sum", "backups completed"]
        backups_failed    = ["NumberOfBackupJobsFailed", "Sum", "backups failed"]
        copies_completed  = ["NumberOfCopyJobsCompleted", "Sum", "copies completed"]
        copies_failed     = ["NumberOfCopyJobsFailed", "Sum", "copies failed"]
      }
    }

    backup_event = {
      exists     = true
      namespace  = "AWS/Events"
      dimensions = { RuleName = aws_cloudwatch_event_rule.backup_failed.name }
      metrics    = { backup_failures = ["MatchedEvents", "Sum", "backups or copies failed"] }
    }

    certificate = {
      exists     = var.domain != null
      namespace  = "AWS/CertificateManager"
      dimensions = { CertificateArn = one(aws_acm_certificate.this[*].arn) }
      metrics    = { certificate_days = ["DaysToExpiry", "Minimum", "days left"] }
    }
  }

  roll_sources = { for event, rule in aws_cloudwatch_event_rule.roll : "roll_${event}" => {
    exists     = true
    namespace  = "AWS/Events"
    dimensions = { RuleName = rule.name }
    metrics    = { "roll_${event}" = ["MatchedEvents", "Sum", "roll ${replace(event, "_", " ")}"] }
  } }

  # Metrics of what this stack does not have are left out, and with them the alarms and
  # graphs that need them.
  metrics = merge([for source in values(merge(local.metric_sources, local.roll_sources)) : {
    for id, metric in source.metrics : id => {
      namespace  = source.namespace
      dimensions = source.dimensions
      name       = metric[0]
      statistic  = metric[1]
      label      = metric[2]
    } if source.exists
  }]...)
}
