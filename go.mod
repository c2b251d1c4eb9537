module github.com/gonatten/gonatten

go 1.25.0

require github.com/sugarme/gotch v0.9.1

require golang.org/x/image v0.44.0

require (
	github.com/stretchr/testify v1.12.1
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
