module github.com/gonatten/gonatten

go 1.25

require github.com/sugarme/gotch v0.9.1
