variable "environment" {
  type        = string
  description = "Name of the stack, which is part of every name in it."

  validation {
    # "hello-birthday-" and a suffix have to fit in a balancer's 32 characters.
    condition     = can(regex("^[a-z][a-z0-9-]{1,11}$", var.environment)) && !endswith(var.environment, "-")
    error_message = "The environment is 2 to 12 lower-case letters, digits and hyphens, such as staging."
  }
}

variable "region" {
  type        = string
  default     = "eu-central-1"
  description = "AWS region of the stack."

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "The region is written as AWS does, such as eu-central-1."
  }
}

variable "recovery_region" {
  type        = string
  default     = "eu-west-1"
  description = "AWS region that holds a copy of every backup."

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.recovery_region))
    error_message = "The region is written as AWS does, such as eu-west-1."
  }

  validation {
    condition     = var.recovery_region != var.region
    error_message = "The recovery region must differ from the stack's, or one outage takes both."
  }
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "Further tags of everything in the stack, such as a cost centre."

  validation {
    condition     = length(setintersection(keys(var.tags), ["Name", "Service", "Environment", "ManagedBy", "Database"])) == 0
    error_message = "The tags Name, Service, Environment, ManagedBy and Database are set by the stack."
  }
}

# The release

variable "ami_id" {
  type        = string
  default     = null
  description = "Image to release, as registered by Packer, which rolls the group and is recorded once it runs; null is the image that is recorded in the parameter /hello-birthday/ENVIRONMENT/image."

  validation {
    # A rollback needs a plain id: AWS does not roll back to an SSM alias.
    condition     = var.ami_id == null || can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "The image is a plain id, such as ami-0123456789abcdef0."
  }
}

variable "rollback" {
  type        = bool
  default     = false
  description = "Whether this apply goes back to an image that ran before, which no alarm stops: alarms that are on speak of the release that is left. Set for one apply, as deploy does."
}

variable "ami_owner" {
  type        = string
  default     = "self"
  description = "Account that the image belongs to; \"self\" is the account of the stack."

  validation {
    condition     = can(regex("^(self|[0-9]{12})$", var.ami_owner))
    error_message = "The owner of the image is self or an account's 12 digits."
  }
}

variable "instance_type" {
  type        = string
  default     = "t4g.small"
  description = "EC2 instance type, of the same processor as the image: t4g and c7g are arm64, t3 and c7i are x86_64."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.instance_type))
    error_message = "The instance type is written as AWS does, such as t4g.small."
  }
}

variable "service_flags" {
  type        = map(string)
  default     = {}
  description = "Flags of the service as environment variables, such as HELLO_BIRTHDAY_TIME_ZONE = \"Europe/Berlin\"; no secrets, since launch templates show them."

  validation {
    condition = alltrue([for name, value in var.service_flags :
      can(regex("^HELLO_BIRTHDAY_[A-Z_]+$", name)) && can(regex("^[A-Za-z0-9_.,:/+-]*$", value))
    ])
    error_message = "Flags are named HELLO_BIRTHDAY_…, and their values hold letters, digits and _ . , : / + - only."
  }

  validation {
    condition     = length([for name in keys(var.service_flags) : name if strcontains(name, "DATABASE_URL") || strcontains(name, "LISTEN") || strcontains(name, "DRAIN") || strcontains(name, "POSTGRES_CA") || strcontains(name, "SENTRY")]) == 0
    error_message = "Where the service listens, how it drains, what it stores in and where it reports errors are set by this stack."
  }
}

variable "sentry_dsn_parameter" {
  type        = string
  default     = null
  description = "Name of the parameter with the Sentry DSN that errors are reported to, below /hello-birthday/ENVIRONMENT/ and a SecureString of the stack's key; null reports none."

  validation {
    condition     = var.sentry_dsn_parameter == null || can(regex("^/hello-birthday/${var.environment}/[a-zA-Z0-9_.-]+$", var.sentry_dsn_parameter))
    error_message = "The parameter is /hello-birthday/ENVIRONMENT/NAME, such as /hello-birthday/staging/sentry-dsn: instances read no other."
  }

  validation {
    condition     = var.sentry_dsn_parameter == null || var.egress != "endpoints"
    error_message = "With egress = \"endpoints\" instances reach AWS alone, and no error tracker: choose another egress, or leave sentry_dsn_parameter out."
  }
}

# The group

variable "size" {
  type = object({
    min = number
    max = number
  })
  default     = { min = 2, max = 6 }
  description = "Smallest and largest number of instances; the group follows the load in between."

  validation {
    condition     = var.size.min >= 2 && floor(var.size.min) == var.size.min
    error_message = "The group has at least 2 instances, so that one may fail."
  }

  validation {
    condition     = var.size.max >= var.size.min && var.size.max <= 100 && floor(var.size.max) == var.size.max
    error_message = "The most instances are no fewer than the fewest, and at most 100."
  }
}

variable "requests_per_instance" {
  type        = number
  default     = 30000
  description = "Requests a minute per instance at which the group is scaled."

  validation {
    condition     = var.requests_per_instance >= 60 && var.requests_per_instance <= 1000000
    error_message = "The requests are 60 to 1000000 a minute."
  }
}

variable "drain_timeout_seconds" {
  type        = number
  default     = 20
  description = "Longest time in seconds that a stopping instance takes to finish requests in flight; the deregistration delay is 10 s longer."

  validation {
    # The unit's TimeoutStopSec is 65 s, and the last commit takes 5 s at most.
    condition     = var.drain_timeout_seconds >= 5 && var.drain_timeout_seconds <= 55
    error_message = "The drain takes 5 to 55 seconds: systemd ends the service after 65."
  }
}

variable "roll" {
  type = object({
    max_healthy_percent = optional(number, 150)
    warmup_seconds      = optional(number, 60)
    bake_seconds        = optional(number, 300)
    timeout_seconds     = optional(number, 1800)
    alarms              = optional(bool, true)
  })
  default     = {}
  description = "How a release replaces the instances: the size that the group may grow to meanwhile, the warm-up of an instance, how long the alarms are watched afterwards, when a roll is given up and rolled back, and whether alarms roll it back."

  validation {
    condition     = var.roll.max_healthy_percent > 100 && var.roll.max_healthy_percent <= 200
    error_message = "The group grows to 101 to 200 percent: new instances start before old ones end."
  }

  validation {
    condition     = var.roll.warmup_seconds >= 0 && var.roll.warmup_seconds <= 3600
    error_message = "The warm-up is 0 to 3600 seconds."
  }

  validation {
    # The slowest alarm needs five minutes; the most is AWS's.
    condition     = var.roll.bake_seconds >= 300 && var.roll.bake_seconds <= 172800
    error_message = "The bake time is 300 to 172800 seconds: an alarm needs up to 300 to go off."
  }

  validation {
    condition     = var.roll.timeout_seconds > var.roll.bake_seconds + var.roll.warmup_seconds
    error_message = "The timeout of a roll must be longer than its warm-up and its bake time together."
  }
}

# The network

variable "network" {
  type = object({
    vpc_id             = string
    public_subnet_ids  = set(string)
    private_subnet_ids = set(string)
    data_subnet_ids    = set(string)
  })
  default     = null
  description = "Existing VPC and its subnets for the load balancer, the instances and the database, each in at least two zones; null makes a VPC."

  validation {
    condition     = var.network == null || try(alltrue([for ids in [var.network.public_subnet_ids, var.network.private_subnet_ids, var.network.data_subnet_ids] : length(ids) >= 2]), false)
    error_message = "An existing network names at least two public, two private and two data subnets."
  }
}

variable "cidr" {
  type        = string
  default     = "10.20.0.0/16"
  description = "IPv4 block of the VPC, from /16 to /20; each subnet gets a sixteenth of it."

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 20, false)
    error_message = "The addresses are an IPv4 block from /16 to /20, such as 10.20.0.0/16."
  }
}

variable "zone_count" {
  type        = number
  default     = 3
  description = "Number of availability zones of the VPC."

  validation {
    condition     = contains([2, 3], var.zone_count)
    error_message = "The stack is spread over 2 or 3 zones."
  }
}

variable "egress" {
  type        = string
  default     = "nat-single"
  description = "How instances reach AWS: public (addresses of their own, closed to connections from outside), nat-single (one NAT gateway), nat (one in each zone), endpoints (AWS services only, no internet), or existing (the routes of an existing network)."

  validation {
    condition     = contains(["public", "nat-single", "nat", "endpoints", "existing"], var.egress)
    error_message = "The egress is public, nat-single, nat, endpoints or existing."
  }

  validation {
    condition     = (var.egress == "existing") == (var.network != null)
    error_message = "An existing network has its own routes: egress = \"existing\" goes with network, and only with it."
  }
}

variable "permissions_boundary" {
  type        = string
  default     = null
  description = "ARN of the permissions boundary of every role of the stack; the apply roles of bootstrap/ require their own."

  validation {
    condition     = var.permissions_boundary == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:policy/.+$", var.permissions_boundary))
    error_message = "The boundary is the ARN of an IAM policy."
  }
}

variable "deletion_protection" {
  type        = bool
  default     = true
  description = "Whether the load balancer and the databases refuse to be deleted."
}

variable "log_retention_days" {
  type        = number
  default     = 90
  description = "Days that logs are kept."

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "CloudWatch keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653 days."
  }
}

# The front door

variable "domain" {
  type        = string
  default     = null
  description = "Host name of the service, such as hello.example.com; null serves plain HTTP."

  validation {
    condition     = var.domain == null || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,}$", var.domain))
    error_message = "The domain is a lower-case name, such as hello.example.com."
  }

  validation {
    condition     = var.domain != null || var.plain_http
    error_message = "Give a domain, so that requests are encrypted; or set plain_http = true for a stack that holds nobody's real date of birth."
  }

  validation {
    condition     = (var.domain != null) == (var.hosted_zone != null || var.certificate_arn != null)
    error_message = "A domain needs a hosted_zone for its records or a certificate_arn, and only a domain does."
  }

  validation {
    condition     = var.domain == null || var.hosted_zone == null || try(endswith(".${var.domain}", ".${var.hosted_zone}"), false)
    error_message = "The domain must lie in the hosted_zone."
  }
}

variable "hosted_zone" {
  type        = string
  default     = null
  description = "Public Route 53 zone of the domain, such as example.com; null leaves the DNS record to you."

  validation {
    condition     = var.hosted_zone == null || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,}$", var.hosted_zone))
    error_message = "The hosted zone is a lower-case name, such as example.com."
  }
}

variable "certificate_arn" {
  type        = string
  default     = null
  description = "ARN of an existing ACM certificate of the domain in the stack's region; null requests one, validated in hosted_zone."

  validation {
    condition     = var.certificate_arn == null || can(regex("^arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/.+$", var.certificate_arn))
    error_message = "The certificate is the ARN of an ACM certificate."
  }
}

variable "plain_http" {
  type        = bool
  default     = false
  description = "Whether a stack without a domain may serve plain HTTP."
}

variable "client_cidrs" {
  type        = set(string)
  default     = ["0.0.0.0/0"]
  description = "IPv4 blocks that may reach the load balancer."

  validation {
    condition     = length(var.client_cidrs) > 0 && alltrue([for cidr in var.client_cidrs : try(cidrsubnet(cidr, 0, 0) == cidr && strcontains(cidr, "."), false)])
    error_message = "The clients are at least one IPv4 block by its first address, such as 203.0.113.0/24."
  }
}

variable "rate_limit" {
  type        = number
  default     = null
  description = "Requests in five minutes above which AWS WAF blocks an address; null means no WAF."

  validation {
    condition     = var.rate_limit == null || try(var.rate_limit >= 10 && var.rate_limit <= 2000000000, false)
    error_message = "WAF's rate limit is 10 to 2000000000 requests."
  }
}

variable "sign_in" {
  type        = bool
  default     = false
  description = "Whether people sign in with Cognito in a browser first, which API clients cannot do."

  validation {
    condition     = !var.sign_in || var.domain != null
    error_message = "Signing in needs HTTPS, so a domain."
  }
}

# The data

variable "database" {
  type        = string
  description = "Database of the service: sqlite (a file on EFS) or postgres (Aurora PostgreSQL)."

  validation {
    condition     = contains(["sqlite", "postgres"], var.database)
    error_message = "The database is sqlite or postgres."
  }
}

variable "database_beside" {
  type        = string
  default     = null
  description = "The other database, kept beside the one in use while the service moves from one to the other."

  validation {
    condition     = var.database_beside == null || try(contains(["sqlite", "postgres"], var.database_beside), false)
    error_message = "The database beside is sqlite or postgres."
  }

  validation {
    condition     = var.database_beside != var.database
    error_message = "The database beside is the one that the service does not use."
  }
}

variable "postgres" {
  type = object({
    min_capacity                = optional(number, 0.5)
    max_capacity                = optional(number, 4)
    readers                     = optional(number, 0)
    read_from_readers           = optional(bool, false)
    major_version               = optional(string, "15")
    allow_major_version_upgrade = optional(bool, false)
    apply_immediately           = optional(bool, false)
  })
  default     = {}
  description = "Capacity of each Aurora instance in ACUs, number of readers beside the writer, whether the service looks users up in the readers, which lag behind the writer, the major version of PostgreSQL and whether it may be raised, and whether changes are applied at once instead of on Tuesday at 06:00 UTC."

  validation {
    # The service keeps connections open, so that a cluster that may pause never would.
    condition     = var.postgres.min_capacity >= 0.5 && floor(var.postgres.min_capacity * 2) == var.postgres.min_capacity * 2
    error_message = "The minimum capacity is at least 0.5 ACUs, in steps of 0.5."
  }

  validation {
    condition     = var.postgres.max_capacity >= max(1, var.postgres.min_capacity) && var.postgres.max_capacity <= 256 && floor(var.postgres.max_capacity * 2) == var.postgres.max_capacity * 2
    error_message = "The maximum capacity is 1 to 256 ACUs, in steps of 0.5, and at least the minimum."
  }

  validation {
    condition     = var.postgres.readers >= 0 && var.postgres.readers <= 15 && floor(var.postgres.readers) == var.postgres.readers
    error_message = "Aurora has 0 to 15 readers."
  }

  validation {
    condition     = !var.postgres.read_from_readers || var.postgres.readers >= 1
    error_message = "Reading from readers needs at least one of them."
  }

  validation {
    # What the tests run on, and newer.
    condition     = can(regex("^(1[5-9]|[2-9][0-9])$", var.postgres.major_version))
    error_message = "The major version is 15 or newer, such as 15."
  }

  validation {
    # Until then the cluster would keep the old parameter group, which is deleted in the same apply.
    condition     = !var.postgres.allow_major_version_upgrade || var.postgres.apply_immediately
    error_message = "A major upgrade has to be applied immediately: set apply_immediately too."
  }
}

variable "backup_retention_days" {
  type        = number
  default     = 35
  description = "Days that nightly backups are kept, in both regions; with backup_lock it can only be raised."

  validation {
    condition     = var.backup_retention_days >= 7 && var.backup_retention_days <= 365
    error_message = "Backups are kept for 7 to 365 days."
  }
}

variable "backup_lock" {
  type        = bool
  default     = false
  description = "Whether backups in the recovery region are locked: three days later nobody can delete them before they expire, nor destroy the stack."
}

# Notifications

variable "alarm_emails" {
  type = object({
    urgent  = optional(set(string), [])
    routine = optional(set(string), [])
  })
  default     = {}
  description = "Email addresses of those who are notified of urgent and of routine alarms, once each has confirmed the subscription."

  validation {
    condition     = alltrue([for address in setunion(var.alarm_emails.urgent, var.alarm_emails.routine) : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", address))])
    error_message = "An email address has the form ops@example.com."
  }
}

variable "alarm_topic_arns" {
  type = object({
    urgent  = optional(set(string), [])
    routine = optional(set(string), [])
  })
  default     = {}
  description = "Further SNS topics, such as a pager's, that urgent and routine alarms are sent to; CloudWatch, and for routine EventBridge too, must be allowed to publish to them."

  validation {
    condition     = alltrue([for arn in setunion(var.alarm_topic_arns.urgent, var.alarm_topic_arns.routine) : can(regex("^arn:aws[a-z-]*:sns:${var.region}:[0-9]{12}:[A-Za-z0-9_-]+$", arn))])
    error_message = "A topic is the ARN of a standard SNS topic in the region of the stack."
  }
}

variable "latency_seconds" {
  type        = number
  default     = null
  description = "Seconds within which 99 % of requests are answered, or an urgent alarm goes off; 1 for sqlite and 0.25 for postgres unless given."

  validation {
    condition     = var.latency_seconds == null || try(var.latency_seconds > 0 && var.latency_seconds <= 5, false)
    error_message = "The latency is above 0 and at most 5 seconds, the deadline of a request."
  }
}
