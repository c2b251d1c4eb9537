module example.com/flops

go 1.25.0

require (
	github.com/gonatten/gonatten v0.0.0
	github.com/sugarme/gotch v0.9.1
)

replace github.com/gonatten/gonatten => ../..
