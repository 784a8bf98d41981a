mod bench;
mod connect;
mod flow;
mod hostile;
mod limits;
mod publish;
mod subscribe;
