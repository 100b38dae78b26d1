environment = "production"

# The image that runs here. Changing this line is a release.
ami_id = "ami-00000000000000000"

domain      = "hello.example.com"
hosted_zone = "example.com"
rate_limit  = 10000

database      = "postgres"
postgres      = { instance_class = "db.m7g.large", storage_gib = 50 }
instance_type = "c7g.large"
size          = { min = 3, max = 12 }

alarm_emails = ["ops@example.com"]
