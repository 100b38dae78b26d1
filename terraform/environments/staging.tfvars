environment = "staging"
region      = "eu-central-1"

domain      = "hello.staging.example.com"
hosted_zone = "staging.example.com"

database   = "sqlite"
zone_count = 2
size       = { min = 2, max = 3 }
egress     = "public"

# It can be taken down, and holds nobody's real date of birth.
deletion_protection   = false
backup_retention_days = 7
log_retention_days    = 14
