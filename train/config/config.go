// Package config is the configuration of a training run: one typed struct whose
// fields are at once the keys of a YAML file, the flags of a command, their
// help, and the record saved with the run. The names are timm's.
package config

// Config describes a run completely. The defaults are the recipe that NAT and
// DiNAT were published with (arXiv 2204.07143, section 4.1), so that the
// official YAML files, which say only what differs, mean what they say.
//
// The tags are the single table behind keys, flags and documentation: key (also
// the flag, with - for _), short (a one-letter flag), default, help, and section
// on the first field of each.
type Config struct {
	DataDir    string  `section:"Data" key:"data_dir" help:"image folder (DIR/train/CLASS/*.jpg, DIR/val/CLASS/*.jpg), tar shards (DIR/train-*.tar and val-*.tar, or 'DIR/{split}-*.tar'), or the folder of a named dataset"`
	Dataset    string  `key:"dataset" help:"named dataset: fashion-mnist, mnist, cifar10, cifar100, imagenet (data_dir has its train and val); empty: data_dir says it"`
	TrainSplit string  `key:"train_split" default:"train" help:"split to train on"`
	ValSplit   string  `key:"val_split" default:"val" help:"split to evaluate on; empty: no evaluation"`
	HoldOut    float64 `key:"hold_out" default:"0" help:"fraction of every class kept for evaluation where the data has no split for it"`
	Offline    bool    `key:"offline" default:"false" help:"never fetch data"`
	NumClasses int     `key:"num_classes" default:"0" help:"classes of the model; 0: the dataset's"`
	ImgSize    int     `key:"img_size" default:"0" help:"height and width of the model's input in pixels; 0: the model's own"`
	BatchSize  int     `key:"batch_size" short:"b" default:"128" help:"images per step and process"`
	ValBatch   int     `key:"validation_batch_size" default:"0" help:"images per evaluation step; 0: batch_size"`
	Workers    int     `key:"workers" short:"j" default:"0" help:"goroutines that decode and augment; 0: as many as cores"`
	MaxBad     int     `key:"max_bad_samples" default:"0" help:"unreadable images that are skipped before the run ends; 0: one per cent of the data; -1: none"`

	Mean          []float64 `section:"Input" key:"mean" help:"mean of the channels on the scale 0 to 1; empty: the dataset's"`
	Std           []float64 `key:"std" help:"standard deviation of the channels; empty: the dataset's"`
	CropPct       float64   `key:"crop_pct" default:"0.875" help:"fraction of the resized image that evaluation's centre crop keeps"`
	Interpolation string    `key:"interpolation" default:"bicubic" help:"resizing for evaluation: nearest, bilinear, bicubic, lanczos, box, hamming"`

	NoAug              bool      `section:"Augmentation" key:"no_aug" default:"false" help:"train on evaluation's view of the images"`
	CropPad            int       `key:"crop_pad" default:"0" help:"above 0: in place of the random resized crop, pad by so many pixels and cut out the original size, as is usual for small images"`
	Scale              []float64 `key:"scale" default:"0.08,1" help:"area of the random resized crop, smallest and largest fraction"`
	Ratio              []float64 `key:"ratio" default:"0.75,1.3333333333333333" help:"aspect ratio of the random resized crop"`
	HFlip              float64   `key:"hflip" default:"0.5" help:"probability of a horizontal flip"`
	VFlip              float64   `key:"vflip" default:"0" help:"probability of a vertical flip"`
	ColorJitter        float64   `key:"color_jitter" default:"0.4" help:"brightness, contrast and saturation jitter; not used together with aa"`
	AutoAugment        string    `key:"aa" default:"rand-m9-mstd0.5-inc1" help:"RandAugment policy; empty: none"`
	AugRepeats         int       `key:"aug_repeats" default:"0" help:"times that a chosen image is seen per epoch (repeated augmentation); 0: off"`
	ReProb             float64   `key:"reprob" default:"0.25" help:"probability of random erasing"`
	ReMode             string    `key:"remode" default:"pixel" help:"what is erased becomes: const, rand, pixel"`
	ReCount            int       `key:"recount" default:"1" help:"rectangles erased at most"`
	TrainInterpolation string    `key:"train_interpolation" default:"random" help:"resizing for training: random (bilinear or bicubic) or one of interpolation's"`

	Mixup           float64 `section:"Mixing and loss" key:"mixup" default:"0.8" help:"alpha of mixup's beta distribution; 0: off"`
	CutMix          float64 `key:"cutmix" default:"1" help:"alpha of cutmix's beta distribution; 0: off"`
	MixupProb       float64 `key:"mixup_prob" default:"1" help:"probability that a batch is mixed at all"`
	MixupSwitchProb float64 `key:"mixup_switch_prob" default:"0.5" help:"probability of cutmix rather than mixup where both are on"`
	MixupOffEpoch   int     `key:"mixup_off_epoch" default:"0" help:"epoch from which mixing is off; 0: never"`
	Smoothing       float64 `key:"smoothing" default:"0.1" help:"label smoothing"`
	BCELoss         bool    `key:"bce_loss" default:"false" help:"binary cross-entropy per class in place of cross-entropy"`
	BCETargetThresh float64 `key:"bce_target_thresh" default:"0" help:"above 0: with bce_loss, targets above it become 1, others 0"`

	Model             string  `section:"Model" key:"model" help:"model name, as natten info --models lists them"`
	InitialCheckpoint string  `key:"initial_checkpoint" help:"weights to start from (safetensors, .pth or a HuggingFace folder); a head of other size starts anew"`
	Freeze            string  `key:"freeze" help:"parameters that are not trained, with commas between: names, beginnings of names (levels.0) or patterns (*.norm1.*)"`
	Drop              float64 `key:"drop" default:"0" help:"dropout rate"`
	AttnDrop          float64 `key:"attn_drop" default:"0" help:"dropout rate of attention weights"`
	DropPath          float64 `key:"drop_path" default:"-1" help:"stochastic depth of the last block, linear from 0; -1: the variant's published rate"`
	GradCheckpointing bool    `key:"grad_checkpointing" default:"false" help:"compute blocks again in the backward pass to save memory"`
	ModelEMA          bool    `key:"model_ema" default:"false" help:"keep a moving average of the weights, and evaluate that"`
	ModelEMADecay     float64 `key:"model_ema_decay" default:"0.9998" help:"weight of the past in the average"`
	ModelEMAWarmup    bool    `key:"model_ema_warmup" default:"false" help:"let the decay grow from 0"`

	Opt         string    `section:"Optimizer" key:"opt" default:"adamw" help:"adamw, sgd (Nesterov), momentum, lamb"`
	OptEps      float64   `key:"opt_eps" default:"0" help:"epsilon; 0: the optimizer's own (1e-8, lamb 1e-6)"`
	OptBetas    []float64 `key:"opt_betas" help:"the two betas; empty: 0.9 and 0.999"`
	Momentum    float64   `key:"momentum" default:"0.9" help:"momentum of sgd"`
	WeightDecay float64   `key:"weight_decay" default:"0.05" help:"of all parameters but biases and those of one dimension"`
	LayerDecay  float64   `key:"layer_decay" default:"0" help:"factor on the learning rate per layer from the output back; 0: off"`
	ClipGrad    float64   `key:"clip_grad" default:"5" help:"limit of the gradients, see clip_mode; 0: off"`
	ClipMode    string    `key:"clip_mode" default:"norm" help:"norm: of all gradients together; value: of each element"`
	AccumSteps  int       `key:"grad_accum_steps" default:"1" help:"batches per optimizer step"`
	AMP         bool      `key:"amp" default:"false" help:"mixed precision (bfloat16 on a processor without instructions for it: float32 instead)"`
	AMPDType    string    `key:"amp_dtype" default:"bfloat16" help:"bfloat16, or float16 with loss scaling"`

	Sched           string  `section:"Schedule" key:"sched" default:"cosine" help:"cosine, linear, poly, step, multistep, onecycle, constant"`
	SchedEpochwise  bool    `key:"sched_epochwise" default:"false" help:"change the rate once per epoch instead of at every step"`
	Epochs          int     `key:"epochs" default:"300" help:"epochs of the schedule, warm-up included"`
	CooldownEpochs  int     `key:"cooldown_epochs" default:"10" help:"epochs at min_lr after it"`
	WarmupEpochs    float64 `key:"warmup_epochs" default:"20" help:"epochs of linear rise from warmup_lr to lr"`
	WarmupPrefix    bool    `key:"warmup_prefix" default:"false" help:"start the schedule after the warm-up, not underneath"`
	LR              float64 `key:"lr" default:"0.001" help:"learning rate"`
	WarmupLR        float64 `key:"warmup_lr" default:"1e-6" help:"rate that the warm-up starts from"`
	MinLR           float64 `key:"min_lr" default:"5e-6" help:"rate at the end"`
	DecayEpochs     float64 `key:"decay_epochs" default:"90" help:"step: epochs per step"`
	DecayMilestones []int   `key:"decay_milestones" default:"90,180,270" help:"multistep: the epochs"`
	DecayRate       float64 `key:"decay_rate" default:"0.1" help:"step and multistep: factor"`
	LRCycleMul      float64 `key:"lr_cycle_mul" default:"1" help:"length of each cycle by that of the one before"`
	LRCycleDecay    float64 `key:"lr_cycle_decay" default:"0.5" help:"height of each cycle by that of the one before"`
	LRCycleLimit    int     `key:"lr_cycle_limit" default:"1" help:"cycles"`
	LRKDecay        float64 `key:"lr_k_decay" default:"1" help:"exponent on time (cosine, linear, poly)"`
	MaxSkipped      int     `key:"max_skipped_steps" default:"3" help:"steps in a row that are skipped because their loss, or the norm of their gradients, is not finite; one more ends the run"`
	MaxSteps        int     `key:"max_steps" default:"0" help:"stop after so many optimizer steps, however far the schedule; 0: no limit"`

	DistTimeout float64 `section:"Processes" key:"dist_timeout" default:"600" help:"seconds that processes wait for each other"`
	BucketMB    float64 `key:"bucket_mb" default:"25" help:"MiB of gradients that travel together"`
	ZeRO        bool    `key:"zero" default:"false" help:"divide the optimizer's state among the processes (ZeRO, stage 1)"`

	Output         string `section:"Run" key:"output" default:"runs" help:"folder that gets a folder per run"`
	Experiment     string `key:"experiment" help:"name of the run's folder; empty: dataset, model and time"`
	Resume         string `key:"resume" help:"run folder, or checkpoint in one, to go on from; auto: the unfinished run of the same configuration, if there is one"`
	Seed           int    `key:"seed" default:"42" help:"of weights, order and augmentation"`
	Threads        int    `key:"threads" default:"0" help:"threads inside an operator; 0: libtorch's choice"`
	Device         string `key:"device" help:"cpu or cuda; empty: cuda where it works, else cpu"`
	ValInterval    int    `key:"val_interval" default:"1" help:"epochs between evaluations"`
	LogInterval    int    `key:"log_interval" default:"50" help:"steps between records of the loss"`
	CheckpointHist int    `key:"checkpoint_hist" default:"2" help:"checkpoints to go on from that are kept"`
	RecoverySteps  int    `key:"recovery_interval" default:"0" help:"steps between checkpoints to go on from, besides the one of each epoch; 0: only that"`
}

// Default is the published recipe.
func Default() *Config {
	c := &Config{}
	for _, f := range fields {
		if f.Default != "" {
			if err := c.Set(f.Key, f.Default); err != nil {
				panic(err) // a tag above is wrong; the tests would not pass
			}
		}
	}
	return c
}
