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
  description = "Stacks of this account, each also a GitHub environment that must exist and be protected before this is applied: GitHub makes an unknown one at its first use, without rules."

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

  validation {
    # hello-birthday-bake-… and hello-birthday-last-backups are no stack's.
    condition     = length(setintersection(var.environments, ["bake", "last"])) == 0
    error_message = "The names bake and last are taken: hello-birthday-bake-instance bakes images, hello-birthday-last-backups keeps backups of deleted file systems."
  }
}

variable "hosted_zones" {
  type        = map(set(string))
  default     = {}
  description = "Ids of the Route 53 zones whose records each environment may change, such as { staging = [\"Z0123456789ABCDEFGHIJ\"] }; a stack without a domain needs none."

  validation {
    condition     = length(setsubtract(keys(var.hosted_zones), var.environments)) == 0
    error_message = "The hosted zones are those of the environments."
  }

  validation {
    condition     = alltrue([for id in flatten([for ids in var.hosted_zones : tolist(ids)]) : can(regex("^[A-Z0-9]{1,32}$", id))])
    error_message = "A hosted zone is named by its id, such as Z0123456789ABCDEFGHIJ."
  }

  validation {
    # Nothing in IAM holds apart records of one zone as well as two zones do.
    condition     = length(flatten([for ids in var.hosted_zones : tolist(ids)])) == length(toset(flatten([for ids in var.hosted_zones : tolist(ids)])))
    error_message = "No two environments may share a zone: each could change the other's records. Delegate a zone to each, such as staging.example.com."
  }
}

variable "branch" {
  type        = string
  default     = "main"
  description = "Branch whose workflows may bake images."

  validation {
    condition     = can(regex("^[A-Za-z0-9._/-]+$", var.branch))
    error_message = "The branch is one name, such as main."
  }
}

variable "image_kms_key_arns" {
  type        = set(string)
  default     = []
  description = "ARNs of the KMS keys that images are encrypted with, where that is not AWS's own key."

  validation {
    condition     = alltrue([for arn in var.image_kms_key_arns : can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", arn))])
    error_message = "A key is named by its ARN, such as arn:aws:kms:eu-central-1:123456789012:key/…"
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
    error_message = "Buckets named hello-birthday-… belong to the stacks, whose roles may change them."
  }
}
