// The targets of build-images: one recipe for every service, as it ships and as `skaffold dev` runs it, and one each
// for the operator and for backups.
variable "VERSION" { default = "dev" }
variable "REGISTRY" { default = "localhost:5001" }
variable "SERVICES" { default = "" } // separated by commas
variable "CA" { default = "" }       // the host's CA bundle, where package registries are behind a proxy
variable "TOOLS" { default = "" }    // a folder with usr/bin/helm, where no registry has one

group "default" {
  targets = ["services", "operator", "backup"]
}

target "common" {
  args   = { VERSION = VERSION }
  secret = CA == "" ? [] : ["id=ca,src=${CA}"]
  output = ["type=docker"]
}

target "services" {
  name       = service
  matrix     = { service = split(",", SERVICES) }
  inherits   = ["common"]
  dockerfile = "services/Dockerfile"
  args       = { SERVICE = service }
  tags       = ["${REGISTRY}/ecommerce/${service}:${VERSION}"]
}

target "development" {
  name       = "${service}-dev"
  matrix     = { service = split(",", SERVICES) }
  inherits   = ["common"]
  dockerfile = "services/Dockerfile"
  target     = "development"
  args       = { SERVICE = service }
}

target "backup" {
  inherits   = ["common"]
  dockerfile = "backup/Dockerfile"
  tags       = ["${REGISTRY}/ecommerce/backup:${VERSION}"]
}

target "operator" {
  inherits   = ["common"]
  dockerfile = "operator/Dockerfile"
  contexts   = TOOLS == "" ? {} : { tools = TOOLS }
  tags       = ["${REGISTRY}/ecommerce/operator:${VERSION}"]
}
