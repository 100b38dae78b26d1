environment = "production"
region      = "eu-central-1"

domain      = "hello.example.com"
hosted_zone = "example.com"
rate_limit  = 10000

database = "postgres"
postgres = { min_capacity = 1, max_capacity = 16, readers = 1 }
size     = { min = 3, max = 12 }
egress   = "endpoints"

backup_lock = true

alarm_emails = { urgent = ["oncall@example.com"], routine = ["ops@example.com"] }
