module github.com/gonatten/gonatten

go 1.24.0

require github.com/sugarme/gotch v0.9.1

require (
	github.com/stretchr/testify v1.12.1
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
