variable "region" {
  type        = string
  default     = "eu-central-1"
  description = "AWS region of the bucket that holds the states."

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "The region is written as AWS does, such as eu-central-1."
  }
}

variable "repository" {
  type        = string
  description = "GitHub repository that plans and applies, as its tokens name it: OWNER/NAME or, where it was made or renamed since July 2026, OWNER@ID/NAME@ID."

  validation {
    # GitHub's own alphabet, so that nothing in it is a wildcard to IAM.
    condition     = can(regex("^([A-Za-z0-9-]+/[A-Za-z0-9._-]+|[A-Za-z0-9-]+@[0-9]+/[A-Za-z0-9._-]+@[0-9]+)$", var.repository))
    error_message = "The repository is OWNER/NAME, or OWNER@ID/NAME@ID, such as example/hello-birthday."
  }
}

variable "environments" {
  type        = set(string)
  default     = ["staging", "production"]
  description = "Stacks of this account, each also a GitHub environment, whose reviewers then decide what is applied to it."

  validation {
    condition = length(var.environments) > 0 && alltrue([for environment in var.environments :
      can(regex("^[a-z][a-z0-9-]{1,11}$", environment)) && !endswith(environment, "-")
    ])
    error_message = "There is at least one environment, and each is 2 to 12 lower-case letters, digits and hyphens, such as staging."
  }

  validation {
    # Each may change what begins with its name.
    condition = alltrue([for pair in setproduct(var.environments, var.environments) :
      !startswith(pair[1], "${pair[0]}-")
    ])
    error_message = "No environment's name may be another's and a suffix, as in prod and prod-eu: a role that may apply the first could change the second."
  }
}

variable "state_bucket" {
  type        = string
  default     = null
  description = "Name of the bucket that holds the states. Without it, one that no other account has."

  validation {
    condition     = var.state_bucket == null || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.state_bucket))
    error_message = "The bucket's name is 3 to 63 lower-case letters, digits and hyphens."
  }

  validation {
    condition     = !try(startswith(var.state_bucket, "hello-birthday-"), false)
    error_message = "Buckets named hello-birthday-… are the stacks' own, and their roles may change them."
  }
}
