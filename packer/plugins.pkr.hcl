# In a file of its own, because Packer before 1.7 has its plugins built in and does
# not know this block.
packer {
  required_plugins {
    # Knows imds_support and the builder's own address.
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "~> 1.3"
    }
    ansible = {
      source  = "github.com/hashicorp/ansible"
      version = "~> 1.1"
    }
  }
}
